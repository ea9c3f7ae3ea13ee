"""`longleaf export` and `import`: the whole store in the portable form, as a folder or one archive."""

from __future__ import annotations

import tarfile
from pathlib import Path

from api.commands import restore
from api.commands.backup import show
from api.commands.session import opened
from api.terminal import progress
from ingest.keeping.backup import backup
from ingest.keeping.leftovers import UNPACKED
from ingest.keeping.portable import BackupDamaged
from ingest.locks import held_folder
from rag.errors import Conflict
from rag.settings import Settings


def run_export(settings: Settings, target: Path, *, as_json: bool) -> None:
    """Write a folder or, for a name that ends in `.tar`, one file.

    Raises Conflict (`target_exists`), Unmigrated, Unavailable, OSError.
    """
    packed = target.suffix == ".tar"
    if target.exists() and (packed or not target.is_dir() or any(target.iterdir())):
        raise Conflict(f"{target} is there already; name a new one", code="target_exists")
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened(settings) as db, progress("documents") as tell:
        if not packed:
            report = backup(db, settings, target, on_progress=tell)
        else:
            with held_folder(target.parent, ".longleaf-export-") as work:
                folder, draft = work / "store", work / "archive"
                report = backup(db, settings, folder, link=True, on_progress=tell)
                with tarfile.open(draft, "x") as archive:
                    for path in sorted(folder.rglob("*")):
                        if path.is_file() and path.name != "lock":
                            archive.add(path, str(path.relative_to(folder)), recursive=False)
                draft.rename(target)
    show(report, target, as_json=as_json)


def run_import(settings: Settings, source: Path, *, as_json: bool) -> None:
    """Fill the empty store. Raises BackupDamaged, Conflict, Unmigrated, Unavailable, OSError."""
    if source.is_dir():
        restore.run(settings, source, as_json=as_json)
        return
    with held_folder(settings.data_dir / "tmp", UNPACKED) as folder:
        try:
            with tarfile.open(source) as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, FileNotFoundError) as error:
            raise BackupDamaged(f"{source} can't be read: {error}") from error
        restore.run(settings, folder, as_json=as_json)
