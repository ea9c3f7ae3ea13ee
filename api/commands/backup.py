"""`longleaf backup`: the store as it is now, in a folder, while it goes on working."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from api.commands.session import opened
from api.terminal import FAILURE, human_bytes, progress, say, say_json, warn
from ingest.keeping.backup import BackupReport, backup
from rag.settings import Settings


def run(settings: Settings, folder: Path, *, link: bool, as_json: bool) -> None:
    """Back up and say what was written; exits with 1 when an original is missing or damaged.

    Raises Unmigrated, Unavailable, InvalidRequest, Conflict.
    """
    with opened(settings) as db, progress("documents") as tell:
        report = backup(db, settings, folder, link=link, on_progress=tell)
    show(report, folder, as_json=as_json)


def show(report: BackupReport, folder: Path, *, as_json: bool) -> None:
    """Say what a run wrote; exits with 1 when an original is missing or damaged."""
    if as_json:
        say_json({"folder": str(folder), **asdict(report)})
    else:
        say(
            f"{folder} holds {report.documents} documents; {report.packs_written} of them and "
            f"{report.blobs_written} originals were written ({human_bytes(report.bytes_written)}), "
            f"{report.removed} old files removed"
        )
    for document_id in report.damaged:
        warn(f"{document_id}: its original is missing or damaged; longleaf verify says more")
    if report.damaged:
        raise SystemExit(FAILURE)
