"""`longleaf worker`: reads documents that others take in, and answers for its health alone."""

from __future__ import annotations

from api.app import create_worker_app
from api.commands.serve import run_server
from api.terminal import USAGE, fail
from rag.settings import Settings


def run(settings: Settings) -> None:
    """Take jobs until SIGINT or SIGTERM; a job under way is given back. Raises Unmigrated, Unavailable."""
    if not settings.ingest_workers:
        fail("LONGLEAF_INGEST_WORKERS is 0: this worker would do nothing; set it to 1 or more", USAGE)
    run_server(settings, create_worker_app, "Longleaf's worker is at")
