"""What can go wrong while a document is read: stable codes, each with a sentence for its sender."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from rag.errors import LongleafError

ParseCode = Literal[
    "encrypted", "no_text", "corrupt", "empty", "unsupported_type", "too_large", "timeout", "out_of_memory"
]
PARSE_CODES: frozenset[str] = frozenset(get_args(ParseCode))


class ParseError(LongleafError):
    """A document that cannot be read; `code` is one of `PARSE_CODES`, `detail` names value and remedy."""

    status: ClassVar[int] = 422
    default_code: ClassVar[str] = "corrupt"

    def __init__(self, code: ParseCode, detail: str) -> None:
        super().__init__(detail, code=code)

    def __reduce__(self) -> tuple[type[ParseError], tuple[str, str]]:
        return type(self), (self.code, self.detail)


class ParserKilled(ParseError):
    """The parser was killed from outside, as the kernel does when memory runs short: another time may do."""


class ParseCancelled(LongleafError):
    """The caller asked to stop; nothing is wrong with the document."""

    status: ClassVar[int] = 409
    default_code: ClassVar[str] = "cancelled"


class Stopped(Exception):
    """Somebody asked long work to stop; what is done so far is kept."""


def file_missing(document_id: str) -> LongleafError:
    """What a document fails with whose original is not where it should be."""
    return LongleafError(
        f"the file of document {document_id} is missing from where originals are kept; upload it again",
        code="file_missing",
    )


def file_damaged(document_id: str, found: str) -> LongleafError:
    """What a document fails with whose original has become another."""
    return LongleafError(
        f"the file of document {document_id} is not what was uploaded ({found}); upload it again",
        code="file_damaged",
    )
