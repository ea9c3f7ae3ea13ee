"""`longleaf serve --cluster ADDRESS`: the service on a Ray cluster, until interrupted or replaced."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

from api.cluster.engine_ray import end_routers
from api.cluster.joining import join
from api.cluster.serve_app import application
from api.cluster.serve_version import APP, new_version, note, noted, overview, standing
from api.cluster.serve_watch import ANSWER_SECONDS, ClusterLost, Watch
from api.logs import configure
from api.terminal import FAILURE, warn
from rag.errors import InvalidRequest, Unavailable
from rag.settings import Settings
from rag.store.migrate import prepare_for_serving
from rag.store.opening import open_database

LOOK_SECONDS = 1.0


def run(settings: Settings) -> None:
    """Deploy the service and wait. One that another command has deployed before is replaced, process by
    process, and that command ends.

    A cluster that is lost ends the process with 1, after a word on stderr.

    Raises InvalidRequest (`bad_cluster_address`, `cluster_port_taken`), Unavailable, Unmigrated.
    """
    configure(settings.log_level, settings.log_format)
    db = open_database(settings)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    prepare_for_serving(db)  # once, before many processes look at it
    db.dispose()
    ray = join(settings.cluster)
    ended = threading.Event()
    for kind in (signal.SIGINT, signal.SIGTERM):  # after joining: Ray has handlers of its own
        signal.signal(kind, lambda *_: ended.set())
    try:
        Deployment(settings, Watch(ray), ended).run()
    except ClusterLost as lost:
        warn(lost.detail)
        sys.stdout.flush()
        os._exit(FAILURE)  # Ray would wait for the cluster at every other end
    except BaseException:
        ray.shutdown()
        raise
    ray.shutdown()


class Deployment:
    """One version of the service, as the command that deployed it sees it."""

    def __init__(self, settings: Settings, watch: Watch, ended: threading.Event) -> None:
        """`ended` is set to end the service."""
        self._settings, self._watch, self._ended = settings, watch, ended
        self._version = new_version()

    def run(self) -> None:
        """Deploy, and wait for the end.

        Raises InvalidRequest (`cluster_port_taken`), Unavailable (`deployment_failed`), ClusterLost.
        """
        from ray import serve  # noqa: PLC0415

        settings = self._settings
        serve.start(http_options={"host": settings.host, "port": settings.port})
        self._check_address()
        before = overview() is not None
        note(self._version)
        target = serve.RunTarget(application(settings, self._version), name=APP, route_prefix="/")
        serve.run_many([target], wait_for_applications_running=False)
        try:
            stays = self._wait(before=before)
        except ClusterLost:
            raise
        except Unavailable:
            if not before:
                self._end()
            raise
        if not stays:
            self._end()

    def _wait(self, *, before: bool) -> bool:
        """Say that it is there, and wait until it is to end; returns whether the service stays."""
        told = cleared = False
        while not self._ended.wait(LOOK_SECONDS):
            seen = self._watch.ask(_look)
            if seen is None:
                continue
            ours, found = seen
            if not ours:
                raise self._watch.lost("another head is there, which knows nothing of what ran")
            if ours != self._version:
                warn("another command has deployed the service anew; this one ends.")
                return True
            state, why = standing(found)
            if state == "gone":
                raise Unavailable("The service was deleted from the cluster.", code="deployment_failed")
            if state == "failed":
                stays = (
                    " What ran before stays where it was not replaced yet; its command brings it back."
                    if before
                    else ""
                )
                raise Unavailable(f"The service can't be deployed: {why}.{stays}", code="deployment_failed")
            if state in ("there", "settled") and not told:
                told = True
                sys.stdout.write(f"Longleaf is at http://{self._settings.host}:{self._settings.port}\n")
                sys.stdout.flush()
            if state == "settled" and not cleared:
                cleared = True
                end_routers(but=self._version)
        seen = self._watch.ask(_look, ANSWER_SECONDS)
        return seen is not None and seen[0] != self._version

    def _check_address(self) -> None:
        from ray.serve.context import _get_global_client  # noqa: PLC0415

        client: Any = _get_global_client()
        there, settings = client.http_config, self._settings
        if (there.host, there.port) != (settings.host, settings.port):
            raise InvalidRequest(
                f"the cluster serves at {there.host}:{there.port}, which stays until `serve shutdown`, not "
                f"at {settings.host}:{settings.port}; give the LONGLEAF_HOST and LONGLEAF_PORT of there",
                code="cluster_port_taken",
            )

    def _end(self) -> None:
        from ray import serve  # noqa: PLC0415

        serve.delete(APP)
        end_routers()


def _look() -> tuple[str, Any | None]:
    """The version that is the cluster's, and what Serve says of it."""
    return noted(), overview()
