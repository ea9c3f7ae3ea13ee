"""ZIP archives: every file in one a section of its own, read as its content says, within limits of them all.

Names are labels only: nothing is unpacked to disk, no link is followed.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from typing import IO

from ingest.errors import ParseError
from ingest.parsers.base import Reading
from ingest.parsers.containers import BROKEN, container_errors
from ingest.parsers.joiner import Joiner
from ingest.parsers.source import MAX_PART, Context, Source

MAX_RATIO = 200
"""What unpacks to more than a MiB may be this many times larger than it is packed (text reaches about 20)."""
_NOISE = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")


def read(source: Source, context: Context) -> Reading:
    """A reading of an archive without pages.

    Raises ParseError: `corrupt`, `encrypted` (all files are), `too_large` (files, sizes, ratio), and
    `unsupported_type` where no file holds text that can be read.
    """
    joiner = Joiner()
    read_any = locked = False
    with container_errors("ZIP"), source.open() as file, zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.is_dir() or _is_link(info) or any(noise in info.filename for noise in _NOISE):
                continue
            name = _label(info.filename)
            if info.flag_bits & 1:
                locked = True
                joiner.paragraph(f"{name} (not read: protected by a password)")
                continue
            _check(info, name)
            try:
                with archive.open(info) as member:
                    data = _unpacked(member, info, name)
            except (NotImplementedError, *BROKEN, zipfile.BadZipFile, zlib.error, EOFError):
                joiner.paragraph(f"{name} (not read: damaged, or packed by a method that is not supported)")
                continue
            read_any = context.part(name, data, joiner, 1) or read_any
    if not read_any and locked and not context.depth:
        raise ParseError("encrypted", "The archive is protected by a password. Pack it without one.")
    if not read_any and not context.depth:  # inside another file the lines above say it
        raise ParseError("unsupported_type", "The ZIP archive holds no file with text that can be read.")
    return Reading("application/zip", None, None, iter((joiner.done(),)))


def _is_link(info: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(info.external_attr >> 16)


def _label(name: str) -> str:
    """The name inside the archive as a label: no tricks with folders, no control characters."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "".join(c if c.isprintable() else "\ufffd" for c in "/".join(parts))[:300] or "file"


def _check(info: zipfile.ZipInfo, name: str) -> None:
    if info.file_size > MAX_PART:
        raise ParseError(
            "too_large",
            f"{name} in the archive unpacks to {info.file_size >> 20} MiB, the limit is {MAX_PART >> 20}.",
        )
    if info.file_size > 1 << 20 and info.file_size > MAX_RATIO * max(1, info.compress_size):
        raise ParseError(
            "too_large",
            f"{name} in the archive unpacks to over {MAX_RATIO} times its size; such files are refused.",
        )


def _unpacked(member: IO[bytes], info: zipfile.ZipInfo, name: str) -> bytes:
    data = member.read(info.file_size + 1)
    if len(data) > info.file_size:
        raise ParseError("too_large", f"{name} in the archive unpacks to more than it says.")
    return data
