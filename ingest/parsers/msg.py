"""Outlook messages (MSG), as python-oxmsg reads them: subject, people and date, the body, attachments."""

from __future__ import annotations

from typing import Any

from ingest.errors import ParseError
from ingest.parsers import html, text
from ingest.parsers.base import ParsedPage, Reading
from ingest.parsers.builder import collapse
from ingest.parsers.decoding import decode
from ingest.parsers.joiner import Joiner
from ingest.parsers.source import Context, Source


def read(source: Source, context: Context) -> Reading:
    """A reading without pages. Raises ParseError: `corrupt`, `too_large`."""
    from oxmsg import Message  # noqa: PLC0415

    try:
        with source.open() as file:
            message = Message.load(file)
            joiner = Joiner()
            title = _write(message, joiner, context)
    except (ParseError, MemoryError, RecursionError):
        raise
    except Exception as error:  # the library and olefile raise what they come upon
        raise ParseError(
            "corrupt", f"The message does not parse ({type(error).__name__}). Save it again."
        ) from error
    return Reading("application/vnd.ms-outlook", title, None, iter((joiner.done(),)))


def _write(message: Any, joiner: Joiner, context: Context) -> str | None:
    subject = collapse(message.subject or "", keep_breaks=False)[:2000]
    joiner.heading(subject, 1)
    people = ", ".join(f"{one.name} <{one.email_address}>" for one in message.recipients)
    date = message.sent_date
    lines = [("From", message.sender or ""), ("To", people), ("Date", date.isoformat(" ") if date else "")]
    joiner.paragraph("\n".join(f"{name}: {value}" for name, value in lines if value))
    joiner.page(_body(message), shift=1)
    for attachment in message.attachments:
        name = collapse(str(attachment.file_name or "attachment").replace("/", "_"), keep_breaks=False)[:200]
        data = attachment.file_bytes
        if data is None:
            joiner.paragraph(f"Attachment: {name} (not read: a message or object within)")
        else:
            context.part(name, data, joiner, 2, "Attachment:")
    return subject[:300] or None


def _body(message: Any) -> ParsedPage:
    plain = (message.body or "").strip()
    markup = message.html_body
    if markup and len(plain) < 20:
        try:
            content = decode(markup).text if isinstance(markup, bytes) else markup
            return next(html.read_text(content).pages)
        except ParseError:
            pass
    plain = plain.replace("\0", "\ufffd")
    return ParsedPage(plain, tuple(text.blocks(plain)))
