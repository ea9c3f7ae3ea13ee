"""The processes under fire: a template that has imported everything and loaded the embedder, and forks.

A start of the service costs seconds, nearly all of them imports; a fork of one that is past them costs
hundredths. What runs afterwards is the service itself: the HTTP application, the worker, the real embedder,
the parser in a process of its own.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import socket
import sys
import time
import types
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn

import rag.ids
import rag.index.live
import rag.store.scope
from api.app import create_app
from api.loaders import Loaders, load_embedder
from api.wiring import Service
from ingest import worker as worker_room
from ingest.blobs import refuse_foreign_folder
from ingest.worker import Worker
from rag.settings import Settings
from rag.store.migrate import prepare_for_serving
from rag.store.session import Database
from tests.faults.points import Points

LEASE_SECONDS = 3.0


class ReadOnly(Service):
    """The service without a generator: no fault of documents needs one."""

    def start(self, *, ingest: bool = True, engine: bool = True) -> None:  # noqa: ARG002
        super().start(ingest=ingest, engine=False)


def serve(settings: Settings, loaders: Loaders, control: Path, name: str) -> None:
    """The HTTP server on a free port, which it writes down once it listens."""
    listener = socket.create_server(("127.0.0.1", 0))
    service = ReadOnly(settings, loaders)
    service.open()
    config = uvicorn.Config(create_app(settings, service), log_config=None, access_log=False, loop="asyncio")
    port = control / f"{name}.port"
    port.with_suffix(".new").write_text(str(listener.getsockname()[1]))
    os.rename(port.with_suffix(".new"), port)
    uvicorn.Server(config).run(sockets=[listener])


def work(settings: Settings, loaders: Loaders, points: Points) -> None:
    """A worker of its own, until it is told to end."""
    db = Database(settings.resolved_database_url)
    refuse_foreign_folder(db, settings)
    prepare_for_serving(db)
    embedder = loaders.embedder(settings)
    running = Worker(db, settings, embedder, lease_seconds=LEASE_SECONDS, on_step=points.reach)
    running.start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            time.sleep(1)
    finally:
        running.stop()


def bend_time(control: Path) -> None:
    """Let this process's wall clock go by the offset in seconds that a file holds."""
    file = control / "offset"

    def offset() -> float:
        try:
            return float(file.read_text())
        except (OSError, ValueError):
            return 0.0

    class Bent(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(seconds=offset())

    rag.store.scope.datetime = Bent
    rag.ids.time = types.SimpleNamespace(time_ns=lambda: time.time_ns() + int(offset() * 1e9))


def begin(order: dict[str, Any], loaders: Loaders) -> None:
    """The life of a forked process."""
    control, name = Path(order["control"]), order["name"]
    log = os.open(control / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(f"%(asctime)s {name} %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # go with the template
    bend_time(control)
    points = Points(control, name)
    points.install()
    rag.index.live.WORTH_SAVING = 20  # so that a dozen documents are worth a snapshot
    worker_room.TROUBLE_SECONDS = 0.3
    settings = Settings(_env_file=None, **order["settings"])
    if order["role"] == "server":
        serve(settings, loaders, control, name)
    else:
        work(settings, loaders, points)


def main() -> None:
    """Fork a process for every line of JSON, and say its number."""
    embedder = load_embedder(Settings(_env_file=None))
    embedder.embed_passages(["warm"])

    def no_engine(_: Settings) -> Any:
        raise RuntimeError("no generator here")

    loaders = Loaders(embedder=lambda _: embedder, engine=no_engine)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                begin(json.loads(line), loaders)
            except SystemExit:
                pass
            except BaseException:
                logging.exception("the process ends")
                os._exit(1)
            os._exit(0)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
