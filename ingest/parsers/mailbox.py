"""MBOX: every message of a mailbox file a section of its own (RFC 4155: each begins with a `From ` line)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ingest.errors import ParseError
from ingest.parsers import mail
from ingest.parsers.base import Reading
from ingest.parsers.joiner import Joiner
from ingest.parsers.source import Context, Source

MAX_MESSAGES = 20_000
_BEGINNING = re.compile(rb"(?:\A|(?<=\n))From [^\n]*\d{4}[^\n]*\n(?=[A-Za-z][A-Za-z0-9-]{0,60}:)")
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)


def read(source: Source, context: Context) -> Reading:
    """A reading of a mailbox without pages. Raises ParseError: `too_large`, `corrupt` (no message)."""
    joiner = Joiner()
    count = 0
    for data in _messages(source.read()):
        count += 1
        if count > MAX_MESSAGES or joiner.characters > context.max_characters:
            raise ParseError(
                "too_large", f"The mailbox has over {MAX_MESSAGES} messages or too much text. Split it."
            )
        mail.write(mail.parse(data), joiner, context, 1)
    if not count:
        raise ParseError("corrupt", "The mailbox holds no message. Export it again.")
    return Reading("application/mbox", None, None, iter((joiner.done(),)))


def _messages(data: bytes) -> Iterator[bytes]:
    marks = list(_BEGINNING.finditer(data))
    for number, mark in enumerate(marks):
        end = marks[number + 1].start() if number + 1 < len(marks) else len(data)
        yield _QUOTED.sub(rb"\1", data[mark.end() : end])
