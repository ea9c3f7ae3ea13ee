"""The signature of a message, as Standard Webhooks has it (https://www.standardwebhooks.com): `v1`, HMAC."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence

from rag.store.repositories.webhooks import SECRET_MARK


def headers(message_id: str, timestamp: int, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """Header fields of a message sent at `timestamp` (seconds since 1970), signed by each of `secrets`."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(each, signed) for each in secrets),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_MARK))
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
