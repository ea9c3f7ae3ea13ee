"""`longleaf serve`: the HTTP server, from an open port to a graceful end."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.logs import configure
from api.metrics.scraper import make_token
from api.middleware import is_loopback
from api.terminal import USAGE, fail, warn
from api.threads import share_memory
from api.wiring import Service
from rag.settings import Settings

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter while others wait. With Python's own 5 ms, the loop waits that
long for each thread that searches or answers before it can refuse one request."""


class _Server(uvicorn.Server):
    """Prints the address once it listens; tells the service at once when it is asked to stop, and stops to
    listen only when a proxy in front has had the time to notice."""

    def __init__(self, config: uvicorn.Config, service: Service, greeting: str) -> None:
        super().__init__(config)
        self._service = service
        self._greeting = greeting
        self._leave: tuple[float, int] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        await super().startup(sockets)
        if self.started:
            sys.stdout.write(f"{self._greeting}\n")
            sys.stdout.flush()

    async def on_tick(self, counter: int) -> bool:
        """Stop as well when the engine has failed for good: whoever started us can start us again."""
        if self._service.engine_failure is not None:
            self._service.stopping.set()
            return True
        if self._leave is not None and time.monotonic() >= self._leave[0]:
            self._stop(self._leave[1], None)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave: not ready any more, but at work for `drain_seconds`. Again: stop at once."""
        drain = self._service.settings.drain_seconds
        if drain and self.started and not self._service.leaving.is_set():
            self._service.leaving.set()
            self._leave = (time.monotonic() + drain, sig)
            return
        self._stop(sig, frame)

    def _stop(self, sig: int, frame: FrameType | None) -> None:
        """No new connections; streams that only watch end, answers may finish."""
        self._leave = None
        self._service.leaving.set()
        self._service.stopping.set()
        super().handle_exit(sig, frame)


def run(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. Raises Unmigrated, Unavailable; exits with 1 when the port is taken
    or the engine fails for good."""
    if settings.cluster:
        from api.cluster.serve_command import run as run_on_cluster  # noqa: PLC0415

        _refuse_open_doors(settings)
        run_on_cluster(settings)
        return
    run_server(settings, create_app, "Longleaf is at")


def run_server(settings: Settings, make: Callable[[Settings, Service], FastAPI], greeting: str) -> None:
    """The same for any application around a service; `greeting` stands before its address."""
    configure(settings.log_level, settings.log_format)
    sys.setswitchinterval(SWITCH_SECONDS)
    share_memory()
    _refuse_open_doors(settings)
    service = Service(settings)
    service.open()
    make_token(settings)
    listener = _listen(settings)
    port = listener.getsockname()[1]
    if settings.auth == "open" and not is_loopback(settings.host):
        warn(
            f"whoever reaches {settings.host}:{port} can read and delete everything (LONGLEAF_AUTH is open): "
            "let nobody reach it but a proxy that signs people in."
        )
    config = uvicorn.Config(
        make(settings, service),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_seconds)),
        timeout_keep_alive=30,
        lifespan="on",
    )
    server = _Server(config, service, f"{greeting} http://{_shown_host(settings.host)}:{port}")
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        # uvicorn raises the signal again after its shutdown: Ctrl-C is how a server in a terminal is ended
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    finally:
        listener.close()
    if not server.started:
        fail("the server did not start; the log above says why")
    if (failure := service.engine_failure) is not None:
        fail(f"the engine has failed: {failure}")


def _refuse_open_doors(settings: Settings) -> None:
    if settings.auth == "off" and not is_loopback(settings.host):
        fail(
            f"LONGLEAF_HOST is {settings.host!r}, which other machines can reach, and nobody would be asked "
            "for a key. Set LONGLEAF_AUTH=on; or LONGLEAF_AUTH=open where a proxy in front signs people in.",
            USAGE,
        )


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.host.strip("[]"), settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # bound is not taken: only listening tells that no other server has the port
        listener.listen(2048)
    except socket.gaierror as error:
        fail(f"LONGLEAF_HOST is {settings.host!r}, which is no address of this machine: {error.strerror}")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            fail(f"port {port} is in use; stop the other server or choose another: longleaf serve --port 0")
        if error.errno in {errno.EACCES, errno.EPERM}:
            fail(f"port {port} needs more rights; choose one above 1023: longleaf serve --port 8000")
        fail(f"can't listen on {settings.host}:{port}: {os.strerror(error.errno or 0)}")
    return listener


def _shown_host(host: str) -> str:
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104 (it is shown, not bound)
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
