"""The words of the tus protocol 1.0 (tus.io/protocols/resumable-upload): headers in, headers out."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from email.utils import format_datetime
from typing import Protocol

from fastapi import HTTPException

from ingest.resumable import Pending, ResumableUploads
from rag.errors import InvalidRequest, LongleafError

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,termination,expiration,checksum"
CONTENT_TYPE = "application/offset+octet-stream"
MAX_METADATA = 128 * 1024
"""Longest header `Upload-Metadata`; what a document keeps of it is bounded further."""
_ALGORITHMS = ("sha1", "sha256", "sha512")


class WrongVersion(LongleafError):
    """The request speaks no version of the protocol that is spoken here."""

    status = 412
    default_code = "tus_version"
    headers = {"Tus-Version": VERSION, "Tus-Resumable": VERSION}  # noqa: RUF012


class ChecksumMismatch(LongleafError):
    """The bytes are not those that the sender computed the checksum of."""

    status = 460  # of the protocol's extension
    default_code = "checksum_mismatch"


class Digest(Protocol):
    """A running hash."""

    def update(self, data: bytes, /) -> None:
        """Take in more bytes."""

    def digest(self) -> bytes:
        """The hash of what came so far."""


def require_version(given: str | None) -> None:
    """Raise WrongVersion (412) unless the request says `Tus-Resumable: 1.0.0`."""
    if given != VERSION:
        raise WrongVersion(f"the header Tus-Resumable is {(given or '')[:40]!r}; send {VERSION}")


def options(most: int) -> dict[str, str]:
    """What is told of this server."""
    return {
        "Tus-Resumable": VERSION,
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(most),
        "Tus-Checksum-Algorithm": ",".join(_ALGORITHMS),
    }


def state(uploads: ResumableUploads, upload: Pending) -> dict[str, str]:
    """Headers that tell how far an upload is and, once it is whole, what it became."""
    headers = {
        "Tus-Resumable": VERSION,
        "Upload-Offset": str(uploads.offset(upload)),
        "Upload-Length": str(upload.length),
        "Cache-Control": "no-store",
    }
    if upload.document_id is None:
        headers["Upload-Expires"] = format_datetime(uploads.expires(upload), usegmt=True)
    else:
        headers["Longleaf-Document"] = upload.document_id
        headers["Longleaf-Job"] = upload.job_id or ""
        headers["Content-Location"] = f"/documents/{upload.document_id}"
    return headers


def parse_metadata_header(value: str | None) -> dict[str, str]:
    """The pairs of `Upload-Metadata`: keys without blanks or commas, values in Base64, maybe left out.

    Raises InvalidRequest (`invalid_upload_metadata`) for a header that is not of that form.
    """
    pairs: dict[str, str] = {}
    if value is None or not value.strip():
        return pairs
    if len(value) > MAX_METADATA:
        raise _bad(f"it has more than {MAX_METADATA:,} bytes")
    for part in value.split(","):
        key, _, encoded = part.strip().partition(" ")
        if not key or key in pairs:
            raise _bad(f"the key {key[:40]!r} is empty or comes twice")
        try:
            pairs[key] = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            raise _bad(f"the value of {key[:40]!r} is not UTF-8 in Base64") from None
    return pairs


def _bad(what: str) -> InvalidRequest:
    return InvalidRequest(
        f"The header Upload-Metadata can't be taken: {what}.", code="invalid_upload_metadata"
    )


class Checksum:
    """What `Upload-Checksum` promises of a request's bytes."""

    def __init__(self, header: str | None) -> None:
        """Raises HTTPException 400 for an algorithm that is not known, or a value that is not Base64."""
        self._digest: Digest | None = None
        self._expected = b""
        if header is None:
            return
        algorithm, _, value = header.strip().partition(" ")
        try:
            self._expected = base64.b64decode(value.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise HTTPException(400, "The header Upload-Checksum has no value in Base64.") from None
        if algorithm not in _ALGORITHMS:
            raise HTTPException(
                400, f"Upload-Checksum knows {', '.join(_ALGORITHMS)}, not {algorithm[:40]!r}."
            )
        self._digest = hashlib.new(algorithm, usedforsecurity=False)

    def update(self, piece: bytes) -> None:
        """Take in more bytes."""
        if self._digest is not None:
            self._digest.update(piece)

    def check(self) -> None:
        """Raise ChecksumMismatch (460) when other bytes came than were promised."""
        if self._digest is not None and not hmac.compare_digest(self._digest.digest(), self._expected):
            raise ChecksumMismatch("the bytes differ from their checksum; send them again")
