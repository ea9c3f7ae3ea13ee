"""Checks of the data folder, of the disk below it, of secrets and backups."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from api.doctor.finding import Case, Finding, failure, ok, skipped, warning
from api.first_key import FILE_NAME
from api.metrics.scraper import BadMetricsToken, token_of
from api.terminal import human_bytes
from ingest.files import size_of
from ingest.keeping.backup_folder import BackupFolder
from ingest.keeping.kv import kv_folder
from ingest.keeping.portable import BackupDamaged
from rag.store.state import identity_of

MOUNTS = Path("/proc/self/mounts")
NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "fuse.glusterfs", "lustre"),
        *("fuse.sshfs", "afs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "gfs2", "ocfs2", "beegfs"),
    }
)
"""File systems of other machines, by the kernel's names."""
GIB = 1024**3
LEAST_FREE = GIB // 4
"""Below this nothing is sure to be written any more."""
INODES = 10_000
BACKUP_DAYS = 2.0


def data_folder(case: Case) -> Finding:
    """Whether the data folder is there, and ours to write."""
    folder = case.settings.data_dir
    if not folder.exists():
        parent = _present(folder)
        if parent.is_dir() and os.access(parent, os.W_OK):
            return ok(f"{folder} is not there yet; it is made at the first start")
        return failure(
            f"{folder} is not there and can't be made: {parent} is no folder that this user may write",
            "make it and give it to the service's user, or set LONGLEAF_DATA_DIR to another",
        )
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return failure(
            f"{folder} can't be written by user {os.geteuid()}: {error.strerror}",
            f"chown -R {os.geteuid()} {folder}, mount it writable, or set LONGLEAF_DATA_DIR to another",
        )
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        return warning(
            f"{folder} belongs to user {owner}, this is user {os.geteuid()}: what one makes in it the other "
            "may not read",
            f"run the service and this command as one user, or chown -R {os.geteuid()} {folder}",
        )
    return ok(f"{folder} is there and can be written")


def disk_space(case: Case) -> Finding:
    """Whether the largest upload that is allowed has room."""
    free, most = shutil.disk_usage(_present(case.settings.data_dir)).free, case.settings.max_upload_bytes
    found = f"{human_bytes(free)} are free for {case.settings.data_dir}"
    remedy = "free some space or use a larger disk; longleaf gc removes what nothing needs"
    if free < LEAST_FREE:
        return failure(found, remedy)
    if free < max(GIB, most):
        return warning(
            f"{found}; one upload may have {human_bytes(most)} (LONGLEAF_MAX_UPLOAD_BYTES)",
            f"{remedy}; or lower LONGLEAF_MAX_UPLOAD_BYTES",
        )
    return ok(found)


def inodes(case: Case) -> Finding:
    """Whether more files can be made."""
    seen = os.statvfs(_present(case.settings.data_dir))
    if not seen.f_files:
        return ok("the file system has no fixed number of files")
    if seen.f_favail < INODES:
        return warning(
            f"{seen.f_favail:,} of {seen.f_files:,} files are left on the file system of the data folder",
            "remove small files from it, lower LONGLEAF_KV_DISK_BYTES, or move LONGLEAF_DATA_DIR",
        )
    return ok(f"{seen.f_favail:,} more files can be made")


def file_system(case: Case) -> Finding:
    """Whether SQLite, or the data folder's locks and mapped files, lie on another machine's disk."""
    file = case.database_file
    if file is not None and (kind := _kind(file)) in NETWORK:
        return failure(
            f"the SQLite database {file} lies on a {kind} mount, where its write-ahead log is not safe",
            "move LONGLEAF_DATA_DIR to a local disk, or use PostgreSQL (LONGLEAF_DATABASE_URL)",
        )
    if (kind := _kind(case.settings.data_dir)) in NETWORK:
        return warning(
            f"{case.settings.data_dir} lies on a {kind} mount: locks and mapped indexes may fail there",
            "move LONGLEAF_DATA_DIR to a local disk",
        )
    return ok(f"the data folder lies on {kind or 'a disk of this machine'}")


def kv_disk(case: Case) -> Finding:
    """Whether what was read may fill the disk."""
    limit, folder = case.settings.kv_disk_bytes, kv_folder(case.settings)
    if not limit:
        return ok("nothing that was read is kept on the disk (LONGLEAF_KV_DISK_BYTES is 0)")
    held = sum(size_of(path) for path in folder.glob("*.kv"))
    free = shutil.disk_usage(_present(folder)).free
    if limit - held > free:
        return warning(
            f"{folder} holds {human_bytes(held)} and may grow to {human_bytes(limit)}; "
            f"{human_bytes(free)} are free",
            f"set LONGLEAF_KV_DISK_BYTES to at most {max(0, held + free // 2)}, or use a larger disk",
        )
    return ok(f"{folder} holds {human_bytes(held)} of at most {human_bytes(limit)}")


def secrets(case: Case) -> Finding:
    """Files that hold a secret: who else can read them, and whether one was left lying."""
    left = case.settings.data_dir / FILE_NAME
    token = Path(case.settings.metrics_token_file).expanduser() if case.settings.metrics_token_file else None
    files = [left, *([Path(".env")] if _env_has_secret() else [])]
    seen = [path for path in files if path.is_file() and _others_read(path)]
    # a Prometheus may read it as one of the group
    if token is not None and token.is_file() and token.stat().st_mode & stat.S_IRWXO:
        seen.append(token)
    if seen:
        names = " ".join(str(path) for path in seen)
        return failure(f"other users of this machine can read {names}", f"chmod 600 {names}")
    try:
        token_of(case.settings)
    except BadMetricsToken as error:
        return failure(error.detail.partition(";")[0], "openssl rand -hex 32 > FILE; chmod 400 FILE")
    if left.is_file():
        return warning(
            f"the first admin's key still lies in {left}",
            f"keep it elsewhere, then rm {left}; a lost one is made anew by longleaf keys create --operator",
        )
    return ok("no file with a secret can be read by others or was left lying")


def backup(case: Case) -> Finding:
    """Whether the backup is this store's, whole by its own account, and not old."""
    if case.backup is None:
        return skipped("no backup was named (--backup DIR)")
    remedy = f"longleaf backup {case.backup}, each day by a timer"
    try:
        said = BackupFolder(case.backup).manifest()
    except BackupDamaged as error:
        return failure(error.detail, remedy)
    assert said is not None  # noqa: S101 (only where a missing one is allowed)
    if case.store is not None:
        with case.store.read() as session:
            if identity_of(session) != said.store:
                return failure(
                    f"{case.backup} is the backup of another store", "name this one's, or make one elsewhere"
                )
    days = (datetime.now(UTC) - datetime.fromisoformat(said.created_at)).total_seconds() / 86_400
    found = f"{case.backup} has {said.documents} documents as of {said.created_at}, {days:.1f} days ago"
    if days > BACKUP_DAYS:
        return warning(found, remedy)
    return ok(f"{found}; longleaf verify --backup checks its files")


def _present(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _kind(path: Path) -> str:
    """The kernel's name of the file system that a path lies on; empty where it can't be told."""
    real, best, kind = os.path.realpath(path), "", ""
    try:
        lines = MOUNTS.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        at = fields[1].encode().decode("unicode_escape")  # spaces stand there as \040
        if (real == at or real.startswith(at.rstrip("/") + "/")) and len(at) >= len(best):
            best, kind = at, fields[2]
    return kind


def _others_read(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def _env_has_secret() -> bool:
    try:
        lines = Path(".env").read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    given = [line.partition("=") for line in lines if not line.lstrip().startswith("#")]
    return any(
        value.strip() and ("PASSWORD" in name or "TOKEN" in name.removesuffix("_FILE") or "@" in value)
        for name, _, value in given
        if not name.strip().endswith("_FILE")
    )
