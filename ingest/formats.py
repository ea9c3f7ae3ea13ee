"""The formats that are read: their names, their media types, and how any other one is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ingest.errors import ParseError

Format = Literal[
    "pdf",
    "docx",
    "pptx",
    "xlsx",
    "opendocument",
    "epub",
    "msg",
    "zip",
    "image",
    "rtf",
    "html",
    "markdown",
    "latex",
    "rst",
    "csv",
    "json",
    "xml",
    "mail",
    "mailbox",
    "subtitles",
    "code",
    "text",
]
MEDIA_TYPES: dict[Format, str] = {
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "opendocument": "application/vnd.oasis.opendocument.text",
    "epub": "application/epub+zip",
    "msg": "application/vnd.ms-outlook",
    "zip": "application/zip",
    "image": "image/png",
    "rtf": "application/rtf",
    "html": "text/html",
    "markdown": "text/markdown",
    "latex": "application/x-latex",
    "rst": "text/x-rst",
    "csv": "text/csv",
    "json": "application/json",
    "xml": "application/xml",
    "mail": "message/rfc822",
    "mailbox": "application/mbox",
    "subtitles": "text/vtt",
    "code": "text/plain",
    "text": "text/plain",
}
SUPPORTED = (
    "PDF, DOCX, PPTX, XLSX, ODT, ODS, ODP, RTF, EPUB, HTML, Markdown, LaTeX, reStructuredText, CSV, TSV, "
    "JSON, XML, EML, MBOX, MSG, SRT, VTT, Jupyter notebooks, source code, ZIP, pictures "
    "(with OCR) and plain text"
)


@dataclass(frozen=True, slots=True)
class Sniffed:
    """The format of a file and its media type; `media_type` is given where a format has several."""

    format: Format
    variant: str = ""

    @property
    def media_type(self) -> str:
        """The registered media type."""
        return self.variant or MEDIA_TYPES[self.format]


def unsupported(kind: str) -> ParseError:
    """The refusal of a known type that is not read."""
    return ParseError(
        "unsupported_type", f"This is {kind}. Supported are {SUPPORTED}: convert it and upload that."
    )
