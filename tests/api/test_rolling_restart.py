"""Two servers behind the real proxy, with the configuration that ships, are restarted one after the other
under load, and nobody notices. And what one server does between the signal and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import ready, until

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 300
QUESTION = {"question": "How long is the notice period?", "mode": "answer", "max_tokens": 16, "stream": True}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def own(environment: dict[str, str]) -> dict[str, str]:
    """Nothing of the caller's settings."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith("LONGLEAF_")
    } | environment


class Server:
    """A service at a port of its own, which can be stopped and started again."""

    def __init__(self, data: Path, **more: str) -> None:
        self.port = free_port()
        self.environment = own({"LONGLEAF_DATA_DIR": str(data), "PYTHONPATH": str(ROOT), **more})
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "api", "serve", "--port", str(self.port)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self.is_ready, START_SECONDS)

    def is_ready(self) -> bool:
        assert self.process.poll() is None
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def leave(self) -> None:
        """Ask it to stop, as Docker and Kubernetes do, and wait until it is gone."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) in {0, -signal.SIGTERM}

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(60)


@contextmanager
def proxy(folder: Path, *servers: Server) -> Iterator[str]:
    """Address of the proxy in front of the servers."""
    url = f"http://127.0.0.1:{free_port()}"
    settings = {
        "LONGLEAF_DOMAIN": url,
        "LONGLEAF_UPSTREAMS": " ".join(f"127.0.0.1:{server.port}" for server in servers),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    # what ships has one more address, for the container's health check, which two proxies can't share
    configuration = (ROOT / "deploy/caddy/Caddyfile").read_text("utf-8").replace(":8090 ", f":{free_port()} ")
    (folder / "Caddyfile").write_text(configuration)
    caddy = Path(sys.executable).with_name("caddy")
    command = [str(caddy), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    process = subprocess.Popen(command, env=own(settings), stderr=subprocess.DEVNULL)
    try:
        until(lambda: process.poll() is None and _answers(url))
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


class Load:
    """People who search and ask until told to stop; what went wrong is kept."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.over = threading.Event()
        self.failures: list[str] = []
        self.searches = self.streams = 0

    def search(self) -> None:
        with httpx.Client(base_url=self.url, timeout=120) as client:
            while not self.over.is_set():
                self.watched(client.post, "/search", {"query": "yearly rent"}, b"41,300 guilders")
                self.searches += 1

    def ask(self) -> None:
        with httpx.Client(base_url=self.url, timeout=120) as client:
            while not self.over.is_set():
                self.watched(client.post, "/query", QUESTION, b"event: done")
                self.streams += 1

    def watched(self, post: object, path: str, body: dict[str, object], wanted: bytes) -> None:
        try:
            response = post(path, json=body)  # type: ignore[operator]
        except httpx.HTTPError as error:
            self.failures.append(f"{path}: {error!r}")
            return
        if response.status_code != 200 or wanted not in response.content:
            self.failures.append(f"{path}: {response.status_code} {response.text[-300:]}")

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=work) for work in (self.search, self.search, self.ask)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join(120)


def test_a_restart_of_one_after_the_other_is_noticed_by_nobody(tmp_path: Path) -> None:
    more = {"LONGLEAF_DRAIN_SECONDS": "3", "LONGLEAF_SHUTDOWN_SECONDS": "60"}
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(tmp_path / "data", **more)) for _ in range(2)]
        url = stack.enter_context(proxy(tmp_path, *servers))
        with httpx.Client(base_url=url, timeout=120) as client:
            ready(client)
        load = Load(url)
        with load.running():
            for server in servers:
                before = load.searches, load.streams
                server.leave()
                server.start()
                time.sleep(2)  # until the proxy has looked
                assert load.searches > before[0]
                assert load.streams > before[1]
        assert load.failures == []


def test_what_a_server_does_until_it_is_gone(tmp_path: Path) -> None:
    more = {"LONGLEAF_DRAIN_SECONDS": "4", "LONGLEAF_SHUTDOWN_SECONDS": "60"}
    with Server(tmp_path / "data", **more) as server, httpx.Client(timeout=120) as client:
        client.base_url = httpx.URL(f"http://127.0.0.1:{server.port}")
        ready(client)
        assert "connection" not in client.get("/healthz").headers
        # an answer that is being written when the signal comes
        with client.stream("POST", "/query", json=QUESTION | {"max_tokens": 200}) as answer:
            events = answer.iter_lines()
            next(line for line in events if line.startswith("event: "))
            server.process.send_signal(signal.SIGTERM)
            with httpx.Client(base_url=client.base_url, timeout=60) as other:
                until(lambda: other.get("/readyz").status_code == 503)
                seen = other.get("/readyz").json()
                assert seen["checks"]["service"] == "stopping"
                # what comes all the same is answered, on a connection that ends with it
                late = other.post("/search", json={"query": "yearly rent"})
                assert late.status_code == 200
                assert "41,300" in json.dumps(late.json())
                assert late.headers["connection"] == "close"
            names = [line.removeprefix("event: ") for line in events if line.startswith("event: ")]
        assert names[-1] == "done"
        server.process.wait(60)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{server.port}/healthz")
    # nothing that was begun is left behind
    with Server(tmp_path / "data", **more) as server:
        figures = httpx.get(f"http://127.0.0.1:{server.port}/metrics").text
        assert 'longleaf_engine_requests{state="running"} 0.0' in figures
        assert "longleaf_queue_lost_jobs 0.0" in figures


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    with Server(tmp_path / "data", LONGLEAF_DRAIN_SECONDS="600") as server:
        server.process.send_signal(signal.SIGTERM)
        url = f"http://127.0.0.1:{server.port}/readyz"
        until(lambda: httpx.get(url).status_code == 503)
        server.leave()
