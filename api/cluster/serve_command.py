"""`longleaf serve --cluster ADDRESS`: the service on a Ray cluster, until interrupted."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

from api.cluster.engine_ray import ROUTER
from api.cluster.joining import NAMESPACE, join
from api.cluster.serve_app import APP, application
from api.logs import configure
from rag.settings import Settings
from rag.store.migrate import prepare_for_serving
from rag.store.opening import open_database


def run(settings: Settings) -> None:
    """Deploy the service and wait. Raises InvalidRequest (`bad_cluster_address`), Unavailable, Unmigrated."""
    configure(settings.log_level, settings.log_format)
    db = open_database(settings)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    prepare_for_serving(db)  # once, before many processes look at it
    db.dispose()
    ray = join(settings.cluster)
    from ray import serve  # noqa: PLC0415

    running, ended = threading.Event(), threading.Event()

    def leave(*_: object) -> None:
        ended.set()
        if not running.is_set():
            raise KeyboardInterrupt  # Serve waits for what may never come

    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, leave)
    serve.start(http_options={"host": settings.host, "port": settings.port})
    try:
        serve.run(application(settings), name=APP, route_prefix="/")
        running.set()
        sys.stdout.write(f"Longleaf is at http://{settings.host}:{settings.port}\n")
        sys.stdout.flush()
        ended.wait()
    except KeyboardInterrupt:
        pass
    finally:
        running.set()
        serve.delete(APP)
        _end_router(ray)
        ray.shutdown()


def _end_router(ray: Any) -> None:
    try:
        ray.kill(ray.get_actor(ROUTER, namespace=NAMESPACE))
    except ValueError:
        return  # it never came
