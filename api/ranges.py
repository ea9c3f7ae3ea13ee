"""Parts of a file that a request asks for, where no file of this machine has it (RFC 9110, section 14)."""

from __future__ import annotations

import re
from urllib.parse import quote

UNSATISFIABLE = (0, 0)
"""Stands for a part that the file does not have."""
_ONE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


def range_of(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last of the one part that `Range` names; `UNSATISFIABLE`.

    None where the whole is to be sent: without a header, with one that can't be read, and with several parts,
    which a server need not send.
    """
    found = _ONE.fullmatch((header or "").strip())
    if found is None or found[1] + found[2] == "":
        return None
    if not found[1]:  # the last so many bytes
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    return (start, end) if start < end else UNSATISFIABLE


def attachment(filename: str) -> str:
    """`Content-Disposition` of a file that no browser renders (RFC 6266)."""
    quoted = quote(filename)
    name = f'filename="{filename}"' if quoted == filename else f"filename*=utf-8''{quoted}"
    return f"attachment; {name}"
