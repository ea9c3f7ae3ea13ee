"""The keys that objects are sealed with, from a file that only the service reads."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path

from rag.errors import Unavailable

KEY_BYTES = 32
ID_BYTES = 8
NO_KEY = bytes(ID_BYTES)
"""What stands in place of a key's id where an object is not encrypted."""


@dataclass(frozen=True)
class SealKeys:
    """Keys of AES-256 by their id; the first of the file seals, all of them open."""

    keys: tuple[bytes, ...] = ()

    @classmethod
    def load(cls, path: Path) -> SealKeys:
        """Read a file with a key a line, 32 random bytes in base64; lines that begin with # are skipped.

        Raises Unavailable (`seal_key`) for a file that cannot be read, has no key, or a line that is none.
        """
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(f"the keys of {path} cannot be read: {error}", code="seal_key") from error
        keys = []
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.startswith("#"):
                continue
            try:
                key = base64.b64decode(line.strip(), validate=True)
            except binascii.Error:
                key = b""
            if len(key) != KEY_BYTES:
                raise Unavailable(
                    f"line {number} of {path} is no key of {KEY_BYTES} bytes in base64; "
                    f"`openssl rand -base64 {KEY_BYTES}` makes one",
                    code="seal_key",
                )
            keys.append(key)
        if not keys:
            raise Unavailable(
                f"{path} has no key; `openssl rand -base64 {KEY_BYTES}` makes one", code="seal_key"
            )
        return cls(tuple(keys))

    @property
    def newest(self) -> bytes | None:
        """The key that seals, None where nothing is encrypted."""
        return self.keys[0] if self.keys else None

    def veils(self, told: str) -> list[str]:
        """Names that stand for `told` without telling it, one for each key, the newest's first; without keys
        its digest, by which whoever guesses it can know that he guessed right."""
        if not self.keys:
            return [hashlib.sha256(told.encode()).hexdigest()]
        return [hmac.digest(_naming_key(key), told.encode(), "sha256").hex() for key in self.keys]

    def find(self, named: bytes) -> bytes | None:
        """The key with this id, None where it is not here."""
        return next((key for key in self.keys if key_id(key) == named), None)


def _naming_key(key: bytes) -> bytes:
    return hmac.digest(key, b"longleaf names", "sha256")


def key_id(key: bytes) -> bytes:
    """A name for a key that does not tell it: the beginning of its SHA-256."""
    return hashlib.sha256(key).digest()[:ID_BYTES]
