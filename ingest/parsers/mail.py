"""E-mail (RFC 5322 and MIME): subject, people and date, the body, and attachments as sections."""

from __future__ import annotations

import email
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32

from ingest.errors import ParseError
from ingest.parsers import html, text
from ingest.parsers.base import ParsedPage, Reading
from ingest.parsers.builder import collapse
from ingest.parsers.decoding import decode
from ingest.parsers.joiner import Joiner
from ingest.parsers.source import Context, Source

MAX_PARTS = 1000
_FIELDS = ("From", "To", "Cc", "Date")
_SIGNATURES = frozenset(
    {"application/pkcs7-signature", "application/x-pkcs7-signature", "application/pgp-signature"}
)
_SECRETS = frozenset({"multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"})


def read(source: Source, context: Context) -> Reading:
    """A reading of one message without pages. Raises ParseError: `encrypted`, `empty`, `too_large`."""
    message = parse(source.read())
    joiner = Joiner()
    title = write(message, joiner, context, 1)
    if joiner.characters == 0 and message.get_content_type() in _SECRETS:
        raise ParseError("encrypted", "The message is encrypted. Save its text and upload that.")
    return Reading("message/rfc822", title, None, iter((joiner.done(),)))


def parse(data: bytes) -> Message:
    """A message from its bytes; one that was saved as UTF-16 is told by its mark or its zeros."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or data[:400].count(0) > 100:
        data = decode(data).text.encode()
    return BytesParser(policy=compat32).parsebytes(data.lstrip(b"\xef\xbb\xbf \t\r\n"))


def write(message: Message, joiner: Joiner, context: Context, level: int) -> str | None:
    """Appends a message as a section of rank `level`; returns its subject."""
    subject = field(message, "Subject")
    joiner.heading(subject, level)
    lines = [(name, field(message, name)) for name in _FIELDS]
    joiner.paragraph("\n".join(f"{name}: {value}" for name, value in lines if value))
    bodies: list[ParsedPage] = []
    attachments: list[Message] = []
    _sort(message, bodies, attachments, [MAX_PARTS])
    for body in bodies:
        joiner.page(body, shift=level)
    for part in attachments:
        name, data = _attached(part)
        context.part(name, data, joiner, level + 1, "Attachment:")
    return subject[:300] or None


def field(message: Message, name: str) -> str:
    """A header field as people read it: encoded words decoded, on one line; empty where it is broken."""
    raw = message.get(name)
    if raw is None:
        return ""
    try:
        plain = str(make_header(decode_header(raw)))
    except (ValueError, LookupError, email.errors.MessageError):
        plain = str(raw)
    return collapse(plain.encode("utf-8", "replace").decode(), keep_breaks=False)[:2000]


def _sort(part: Message, bodies: list[ParsedPage], attachments: list[Message], left: list[int]) -> None:
    """Puts the leaves of a message into what is its text and what is attached."""
    left[0] -= 1
    if left[0] < 0:
        raise ParseError("too_large", f"The message has more than {MAX_PARTS} parts.")
    kind = part.get_content_type()
    if kind == "multipart/alternative" and part.is_multipart():
        bodies += _alternative(part, attachments, left)
    elif kind == "message/rfc822" or (part.get_content_maintype() == "message" and part.is_multipart()):
        attachments.append(part)
    elif part.is_multipart():
        for inner in _parts(part):
            _sort(inner, bodies, attachments, left)
    elif (
        kind in ("text/plain", "text/html") and not part.get_filename() and _disposition(part) != "attachment"
    ):
        bodies.append(_body(part))
    elif kind not in _SIGNATURES and not _is_decoration(part):
        attachments.append(part)


def _alternative(part: Message, attachments: list[Message], left: list[int]) -> list[ParsedPage]:
    """One of several forms of the same text: the plain one, unless it holds less than half of the other."""
    forms: list[list[ParsedPage]] = []
    for inner in _parts(part):
        form: list[ParsedPage] = []
        _sort(inner, form, attachments, left)
        forms.append(form)
    sizes = [sum(len("".join(page.text.split())) for page in form) for form in forms]
    if not sizes:
        return []
    return next(form for form, size in zip(forms, sizes, strict=True) if size * 2 >= max(sizes))


def _parts(part: Message) -> list[Message]:
    payload = part.get_payload()
    return [one for one in payload if isinstance(one, Message)] if isinstance(payload, list) else []


def _disposition(part: Message) -> str:
    return (part.get_content_disposition() or "").lower()


def _is_decoration(part: Message) -> bool:
    """Pictures that the text shows inside itself: logos, lines, trackers."""
    return part.get_content_maintype() == "image" and _disposition(part) != "attachment"


def _body(part: Message) -> ParsedPage:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    content = _decoded(data, part.get_content_charset()) if data.strip() else ""
    if part.get_content_type() == "text/html":
        try:
            return next(html.read_text(content).pages)
        except ParseError:  # nothing in it parses
            return ParsedPage("")
    content = content.strip()
    return ParsedPage(content, tuple(text.blocks(content)))


def _decoded(data: bytes, charset: str | None) -> str:
    try:
        return decode(data, charset).text
    except ParseError:
        try:
            return data.decode(charset or "utf-8", "replace").replace("\0", "\ufffd")
        except (LookupError, ValueError):  # ValueError: a NUL in the name, or a codec that can't replace
            return data.decode("utf-8", "replace").replace("\0", "\ufffd")


def _attached(part: Message) -> tuple[str, bytes]:
    """An attachment's name and bytes; a message within is written out again."""
    try:
        name = str(make_header(decode_header(part.get_filename() or "")))
    except (ValueError, LookupError, TypeError, email.errors.MessageError):
        name = ""
    name = collapse(name.replace("/", "_"), keep_breaks=False)[:200]
    inner = _parts(part)
    if inner:
        return name or (field(inner[0], "Subject") or "message") + ".eml", inner[0].as_bytes()
    payload = part.get_payload(decode=True)
    return name or part.get_content_type(), payload if isinstance(payload, bytes) else b""
