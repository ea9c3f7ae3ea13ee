"""Names of KV blocks: the chained SHA-256 of all that their keys and values depend on."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence


def block_names(tokens: Sequence[int], size: int, identity: bytes, salt: str) -> list[bytes]:
    """The name of every full block of a token sequence, 32 bytes each; equal names mean equal beginnings.

    Args:
        size: tokens in a block.
        identity: everything that keys and values depend on beside the tokens.
        salt: sequences of different salts share no name.
    """
    names: list[bytes] = []
    parent = hashlib.sha256(identity + salt.encode()).digest()
    for end in range(size, len(tokens) + 1, size):
        part = array("I", tokens[end - size : end]).tobytes()
        parent = hashlib.sha256(parent + part).digest()
        names.append(parent)
    return names
