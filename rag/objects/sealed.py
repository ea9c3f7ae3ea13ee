"""How an object's bytes lie: in frames, each of which can be told from a damaged, cut, moved or foreign one.

    magic 4 | version 1 | key id 8 | salt 16
    then frames: length u32, highest bit set in the last | content and its seal

With a key, a frame is AES-256-GCM under a key of the object's own (HKDF of the key and the salt), its number
being the nonce. Without one it is followed by its SHA-256. Both cover the object's name, the head, the
frame's number and whether it is the last: the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015,
"Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance").
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from rag.objects.keys import ID_BYTES, KEY_BYTES, NO_KEY, SealKeys, key_id

FRAME = 1 << 20
"""Bytes of content in each frame but the last."""
_MAGIC, _VERSION, _SALT = b"LLOB", b"\x01", 16
HEAD = len(_MAGIC) + 1 + ID_BYTES + _SALT
"""Bytes before the first frame."""
_LENGTH = struct.Struct("<I")
_LAST = 1 << 31
_DIGEST, _TAG = 32, 16


class Damaged(Exception):
    """The bytes are not the object that the name says, or not all of it."""


def sealed(name: str, pieces: Iterable[bytes], keys: SealKeys) -> Iterator[bytes]:
    """The bytes to store under a name, for content that comes in pieces of any size."""
    key, salt = keys.newest, os.urandom(_SALT)
    head = _MAGIC + _VERSION + (NO_KEY if key is None else key_id(key)) + salt
    close = _closer(key, salt)
    yield head
    held, number = bytearray(), 0
    for piece in pieces:
        held += piece
        while len(held) > FRAME:  # one that is just full may be the last
            content = close(bytes(held[:FRAME]), number, _context(name, head, number, last=False))
            yield _LENGTH.pack(len(content)) + content
            del held[:FRAME]
            number += 1
    content = close(bytes(held), number, _context(name, head, number, last=True))
    yield _LENGTH.pack(len(content) | _LAST) + content


def opened(name: str, stored: Iterable[bytes], keys: SealKeys) -> Iterator[bytes]:
    """The content of what `sealed` made, frame by frame; none of a frame before it is known to be right.

    Raises Damaged, at the end too where the end is missing: until then it may be a part of the content.
    """
    reader = _Reader(stored)
    head = reader.take(HEAD)
    check = _opener(*_key_of(name, head, keys))
    number, last = 0, False
    while not last:
        content, last = _frame(reader, check, name, head, number)
        yield content
        number += 1
    if not reader.at_end():
        raise Damaged(f"{name} goes on after its end")


def opened_part(  # noqa: PLR0917
    name: str, head: bytes, stored: Iterable[bytes], keys: SealKeys, first: int, last: int | None
) -> Iterator[bytes]:
    """The content of the frames from `first` on, up to `last` (all, where that is None), one by one.

    Args:
        head: the object's first `HEAD` bytes.
        stored: its bytes from `at(first, head)` on.

    Raises Damaged. That the object goes on as it should behind `last` is not known.
    """
    check = _opener(*_key_of(name, head, keys))
    reader = _Reader(stored)
    number, ended = first, False
    while not ended and (last is None or number <= last):
        content, ended = _frame(reader, check, name, head, number)
        yield content
        number += 1


def at(frame: int, head: bytes) -> int:
    """Where a frame begins in an object with this head, in bytes."""
    plain = head[len(_MAGIC) + 1 : -_SALT] == NO_KEY
    return HEAD + frame * (_LENGTH.size + FRAME + (_DIGEST if plain else _TAG))


_Close = Callable[[bytes, int, bytes], bytes]
_Open = Callable[[bytes, int, bytes], "bytes | None"]


def _key_of(name: str, head: bytes, keys: SealKeys) -> tuple[bytes | None, bytes]:
    """The key and the salt that an object's head names. Raises Damaged."""
    if len(head) != HEAD or head[: len(_MAGIC) + 1] != _MAGIC + _VERSION:
        raise Damaged(f"{name} is no object of this service, or of a newer one")
    named, salt = head[len(_MAGIC) + 1 : -_SALT], head[-_SALT:]
    key = None if named == NO_KEY else keys.find(named)
    if key is None and named != NO_KEY:
        raise Damaged(f"{name} is encrypted with the key {named.hex()}, which is not among the keys")
    if key is None and keys.newest is not None:
        raise Damaged(f"{name} is not encrypted, and everything is to be")
    return key, salt


def _frame(reader: _Reader, check: _Open, name: str, head: bytes, number: int) -> tuple[bytes, bool]:
    """The content of the next frame, and whether it is the last."""
    (length,) = _LENGTH.unpack(reader.take(_LENGTH.size))
    last, length = bool(length & _LAST), length & ~_LAST
    if length > FRAME + _DIGEST:
        raise Damaged(f"{name} has a frame of {length} bytes")
    content = check(reader.take(length), number, _context(name, head, number, last=last))
    if content is None:
        raise Damaged(f"frame {number} of {name} is not what was stored under this name")
    return content, last


def _closer(key: bytes | None, salt: bytes) -> _Close:
    if key is None:
        return lambda content, _number, context: content + hashlib.sha256(context + content).digest()
    cipher = AESGCM(_own_key(key, salt))
    return lambda content, number, context: cipher.encrypt(_nonce(number), content, context)


def _opener(key: bytes | None, salt: bytes) -> _Open:
    if key is None:

        def compared(stored: bytes, _number: int, context: bytes) -> bytes | None:
            content, digest = stored[:-_DIGEST], stored[-_DIGEST:]
            return content if hashlib.sha256(context + content).digest() == digest else None

        return compared
    cipher = AESGCM(_own_key(key, salt))

    def decrypted(stored: bytes, number: int, context: bytes) -> bytes | None:
        if len(stored) < _TAG:
            return None
        try:
            return cipher.decrypt(_nonce(number), stored, context)
        except InvalidTag:
            return None

    return decrypted


def _own_key(key: bytes, salt: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=b"longleaf object").derive(key)


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "little")


def _context(name: str, head: bytes, number: int, *, last: bool) -> bytes:
    encoded = name.encode()
    return struct.pack("<I", len(encoded)) + encoded + head + struct.pack("<QB", number, last)


class _Reader:
    """Bytes in the sizes that are wanted, from pieces of others."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = bytearray()

    def take(self, size: int) -> bytes:
        """Exactly so many. Raises Damaged where there are fewer."""
        while len(self._held) < size:
            piece = next(self._pieces, None)
            if piece is None:
                raise Damaged("the object ends too early")
            self._held += piece
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return not self._held and all(not piece for piece in self._pieces)
