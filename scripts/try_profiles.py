"""Try the profiles of docker-compose.yml for real: three processes behind the proxy with TLS, a Prometheus
that reads them, and a restart of one after the other while people search and ask, of whom none may notice.

Images that can't be pulled are replaced by the same programs from packages. Of Grafana and the collector
there are none; where they can't be had they are left out, and the end says so.
Needs what try_compose.py needs.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import ssl
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import stand_ins
from demo import DOCUMENTS, QUESTIONS, ROOT, free_port
from service_client import PROXYLESS, CallFailed, Service
from try_compose import COLLECTION, Stack, ask_all, first_key, say

PROCESSES = ("service", "replica-2", "replica-3")
USERS = 6


def images() -> dict[str, str]:
    """Each image that the compose file names by a variable, with its default."""
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    return dict(re.findall(r"image: \$\{((?!LONGLEAF)\w+):-([^}]+)\}", text))


def choose_images(stack: Stack) -> set[str]:
    """Have each image or a stand-in; returns the variables of those that can't be had."""
    missing = set()
    for variable, image in images().items():
        if stand_ins.can_be_had(image):
            continue
        built = stand_ins.build(variable)
        if built is None:
            missing.add(variable)
        else:
            say(f"{image} can't be pulled; {built} stands in")
            stack.environment[variable] = built
    return missing


def trusting(stack: Stack, folder: Path) -> urllib.request.OpenerDirector:
    """An opener that trusts the proxy's own authority and no other."""
    deadline = time.monotonic() + 60
    while True:
        try:
            root = stack.run("exec", "-T", "proxy", "cat", "/data/caddy/pki/authorities/local/root.crt")
            break
        except CallFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
    (folder / "root.crt").write_text(root)
    context = ssl.create_default_context(cafile=str(folder / "root.crt"))
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )


class Users:
    """People who search and ask through the proxy until told to stop; every failure is kept."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self.failures: list[str] = []
        self.done = 0
        self.streams = 0
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(USERS)]

    def __enter__(self) -> Users:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        while not self._stop.is_set():
            try:
                self._ask() if number % 3 == 0 else self._search()
                self.done += 1
            except CallFailed as error:
                self.failures.append(str(error)[:300])
            time.sleep(0.1)

    def _search(self) -> None:
        body = json.dumps({"query": QUESTIONS[0], "collection": COLLECTION}).encode()
        if not self._service.call("POST", "/search", body, "application/json")["results"]:
            raise CallFailed("a search found nothing")

    def _ask(self) -> None:
        wanted = {"question": QUESTIONS[1], "collection": COLLECTION, "stream": True}
        text = self._service.fetch("POST", "/query", json.dumps(wanted).encode(), "application/json").decode()
        if "event: done" not in text:
            raise CallFailed(f"a stream ended without its end: {text[-200:]!r}")
        self.streams += 1


def restart_one_after_the_other(stack: Stack, service: Service) -> None:
    """Raises `CallFailed` where one request failed."""
    with Users(service) as users:
        time.sleep(3)
        for name in PROCESSES:
            before = users.done
            stack.run("restart", "-t", "90", name)
            wait_healthy(stack, name)
            say(f"restarted {name}; {users.done - before} requests meanwhile, {len(users.failures)} failed")
    if users.failures:
        raise CallFailed(f"{len(users.failures)} of {users.done} requests failed: {users.failures[0]}")
    say(f"{users.done} requests, {users.streams} of them streams, 0 failed")


def wait_healthy(stack: Stack, name: str) -> None:
    """Wait until the container is healthy, as the proxy sees it; raises `CallFailed`."""
    ask = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"
    deadline = time.monotonic() + 240
    while True:
        try:
            stack.run("exec", "-T", name, "python", "-c", ask)
        except CallFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            time.sleep(2)  # the proxy's next look
            return


def check_prometheus(port: int) -> None:
    """Every process is read, every query of the dashboard can be answered; raises `CallFailed`."""
    prometheus = Service(f"http://127.0.0.1:{port}", opener=PROXYLESS)
    deadline = time.monotonic() + 90
    while True:
        found = prometheus.call("GET", "/api/v1/targets")["data"]["activeTargets"]
        state = {each["labels"]["instance"]: each["health"] for each in found}
        if len(state) == len(PROCESSES) + 1 and set(state.values()) == {"up"}:
            break
        if time.monotonic() > deadline:
            raise CallFailed(f"Prometheus reads {state}: {[each['lastError'] for each in found]}")
        time.sleep(2)
    say(f"Prometheus reads {len(state)} processes with the token")
    board: dict[str, Any] = json.loads((ROOT / "deploy/grafana/dashboards/longleaf.json").read_text("utf-8"))
    asked = empty = 0
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            query = urllib.parse.urlencode({"query": target["expr"].replace("$__rate_interval", "1m")})
            answer = prometheus.call("GET", f"/api/v1/query?{query}")
            asked += 1
            empty += not answer["data"]["result"]
    rules = prometheus.call("GET", "/api/v1/rules")["data"]["groups"][0]["rules"]
    if bad := [rule["name"] for rule in rules if rule["health"] == "err"]:
        raise CallFailed(f"alerts that can't be evaluated: {bad}")
    say(f"{asked} queries of the dashboard answered, {empty} of them with no data yet; {len(rules)} alerts")


def attempt(stack: Stack, folder: Path, image: str) -> None:
    """The whole try, with the image named or one built now; raises `CallFailed` where it does not hold."""
    missing = choose_images(stack)
    if image:
        stack.environment["LONGLEAF_IMAGE"] = image
    else:
        say("build")
        stack.run("build", "service", quiet=False)
    https, prometheus = free_port(), free_port()
    stack.environment |= {
        "LONGLEAF_HTTPS_PORT": str(https),
        "LONGLEAF_HTTP_PORT": str(free_port()),
        "PROMETHEUS_PORT": str(prometheus),
        "GRAFANA_PORT": str(free_port()),
        "LONGLEAF_TRACES": "off" if "COLLECTOR_IMAGE" in missing else "otlp",
    }
    names = [*PROCESSES, "worker", "proxy", "prometheus"]
    names += [name for name in ("grafana", "collector") if f"{name.upper()}_IMAGE" not in missing]
    say(f"start {' '.join(names)}")
    stack.environment["COMPOSE_PROFILES"] = "proxy,replicas,observability"
    stack.run("up", "-d", *names)
    service = Service(f"https://localhost:{https}", opener=trusting(stack, folder))
    service.wait_until_up(300)
    service.key = first_key(stack, service)
    say("ready behind the proxy, by TLS of its own authority; upload")
    files = sorted(path for path in DOCUMENTS.iterdir() if path.name != "README.md")
    service.wait_until_ready(service.upload(files, COLLECTION))
    for name in PROCESSES:
        wait_healthy(stack, name)
    ask_all(service)
    check_prometheus(prometheus)
    say("restart one after the other under load")
    restart_one_after_the_other(stack, service)
    for variable in sorted(missing):
        say(
            f"not started, since {images()[variable]} can't be had here: {variable.partition('_')[0].lower()}"
        )


def main() -> None:
    """Run the try and clean up, also after a failure."""
    parser = argparse.ArgumentParser(description="Try the profiles of docker-compose.yml for real.")
    parser.add_argument(
        "--image", default="", help="an image of Longleaf that is here, in place of building one"
    )
    image: str = parser.parse_args().image
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    started = time.monotonic()
    try:
        stack = Stack()
    except CallFailed as error:
        sys.exit(f"try-profiles: {error}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            attempt(stack, Path(folder), image)
    except CallFailed as error:
        print(stack.run("logs", "--tail=40"), file=sys.stderr)
        sys.exit(f"try-profiles: {error}")
    finally:
        stack.remove()
    say(f"all held; removed again; {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
