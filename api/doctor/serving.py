"""Checks of the address that the server takes."""

from __future__ import annotations

import errno
import json
import os
import socket
import urllib.request

from api.doctor.finding import Case, Finding, failure, ok, warning
from api.middleware import is_loopback


def address(case: Case) -> Finding:
    """Whether other machines reach a server that asks for no key."""
    settings = case.settings
    if is_loopback(settings.host):
        return ok(f"{settings.host} is reached from this machine alone")
    if settings.auth == "off":
        return failure(
            f"LONGLEAF_HOST is {settings.host}, which other machines reach, and LONGLEAF_AUTH is off: the "
            "server will not start",
            "set LONGLEAF_AUTH=on, or LONGLEAF_HOST=127.0.0.1",
        )
    if settings.auth == "open":
        return warning(
            f"whoever reaches {settings.host} can read and delete everything (LONGLEAF_AUTH is open)",
            "let nobody reach it but a proxy that signs people in, or set LONGLEAF_AUTH=on",
        )
    return ok(f"{settings.host} is reached by others, who are asked for a key")


def port(case: Case) -> Finding:
    """Whether the port can be taken, or is taken by a Longleaf."""
    host, number = case.settings.host.strip("[]"), case.settings.port
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        return failure(f"LONGLEAF_HOST is {host!r}, which can't be resolved: {error}", "set it to 127.0.0.1")
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(where)
            listener.listen(1)
        except OSError as error:
            return _taken(host, number, error)
    return ok(f"port {number} is free" if number else "any free port is taken")


def _taken(host: str, number: int, error: OSError) -> Finding:
    if error.errno == errno.EADDRINUSE:
        if _is_longleaf(host, number):
            return ok(f"a Longleaf answers on port {number}")
        return failure(
            f"port {number} is taken by another program",
            f"find it with ss -ltnp 'sport = :{number}' and stop it, or set LONGLEAF_PORT to another",
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return failure(f"port {number} needs more rights", "set LONGLEAF_PORT to one above 1023")
    if error.errno == errno.EADDRNOTAVAIL:
        return failure(f"{host} is no address of this machine", "set LONGLEAF_HOST to one, or to 127.0.0.1")
    return failure(f"can't listen on {host}:{number}: {os.strerror(error.errno or 0)}", "set LONGLEAF_PORT")


def _is_longleaf(host: str, number: int) -> bool:
    known = "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 (it is asked, not bound)
    url = f"http://{f'[{known}]' if ':' in known else known}:{number}/healthz"
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return bool(json.loads(answer.read(1000)) == {"status": "ok"})
    except (OSError, ValueError):
        return False
