"""What the command line prints: results on stdout, everything else on stderr, document text made harmless."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

SUCCESS, FAILURE, USAGE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141
# Marks that reorder what follows can make a line say something else than it holds.
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(text: str) -> str:
    """Return text that can't steer a terminal: without control characters and bidi overrides."""
    return "".join(
        character
        if character in "\n\t"
        or (unicodedata.category(character) != "Cc" and character not in _BIDI_CONTROLS)
        else "\ufffd"
        for character in text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
    )


def one_line(text: str, limit: int) -> str:
    """Return clean text on one line, cut to `limit` characters with an ellipsis."""
    joined = " ".join(clean(text).split())
    return joined if len(joined) <= limit else joined[: limit - 1] + "…"


def say(text: str = "") -> None:
    """Print a line of the result."""
    sys.stdout.write(clean(text) + "\n")


def say_json(value: Any, *, one_line: bool = False) -> None:
    """Print the result as one JSON document; control characters are escaped in it."""
    text = json.dumps(value, ensure_ascii=False, indent=None if one_line else 2, default=str)
    # JSON escapes C0; C1 and bidi marks would pass
    escaped = (
        f"\\u{ord(c):04x}" if "\x7f" <= c <= "\x9f" or c in _BIDI_CONTROLS or "\ud800" <= c <= "\udfff" else c
        for c in text
    )
    sys.stdout.write("".join(escaped) + "\n")


def warn(text: str) -> None:
    """Print a message beside the result."""
    sys.stderr.write(f"longleaf: {clean(text)}\n")
    sys.stderr.flush()


def fail(text: str, code: int = FAILURE) -> NoReturn:
    """Print a message and end with an exit code."""
    warn(text)
    raise typer.Exit(code)


def bold(text: str) -> str:
    """Return text in bold where stdout is a terminal that is not told otherwise (no-color.org)."""
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        return f"\x1b[1m{text}\x1b[0m"
    return text


def say_heading(text: str, rest: str = "") -> None:
    """Print a line that begins in bold."""
    sys.stdout.write(f"{bold(clean(text))}{clean(rest)}\n")


@contextmanager
def progress(label: str, *, of_bytes: bool = False) -> Iterator[Callable[[int, int | None], None]]:
    """Give a function of how much is done and of how much; it draws a bar on stderr where that is a terminal.

    Args:
        of_bytes: whether sizes and speed are shown.
    """
    from rich.console import Console  # noqa: PLC0415 (slow to import)
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn  # noqa: PLC0415

    columns = (
        *Progress.get_default_columns(),
        *((DownloadColumn(), TransferSpeedColumn()) if of_bytes else ()),
    )
    quiet = not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as bars:
        bar = bars.add_task(clean(label), total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def human_bytes(count: float) -> str:
    """Return e.g. `94.3 MB`: powers of ten, as disks are sold and `ls --si` counts."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
