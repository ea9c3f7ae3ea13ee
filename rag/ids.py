"""Identifiers: a prefix that says the kind, then 26 characters that sort by time of creation."""

from __future__ import annotations

import secrets
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, as ULID has it


def new_id(prefix: str) -> str:
    """Return e.g. `doc_01jz…`: 48 bits of milliseconds since 1970, then 80 random bits."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return prefix + "_" + "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
