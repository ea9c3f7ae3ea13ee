"""`longleaf restore`: a backup becomes the store."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from api.terminal import human_bytes, say, say_json
from ingest.keeping.restore import restore
from rag.settings import Settings
from rag.store.opening import open_database


def run(settings: Settings, folder: Path, *, as_json: bool) -> None:
    """Restore and say what came. Raises BackupDamaged, Conflict, Unmigrated, Unavailable."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    db = open_database(settings)
    try:
        report = restore(db, settings, folder)
    finally:
        db.dispose()
    shown = db.url.render_as_string(hide_password=True)
    if as_json:
        say_json({"database": shown, **asdict(report)})
    else:
        say(
            f"{shown} has the {report.documents} documents of {report.created_at}: {report.rows:,} rows, "
            f"{report.files} originals ({human_bytes(report.bytes)})"
        )
