"""One attempt to sign in: what binds the browser that began it to the answer of the provider.

All is derived from one random secret in a cookie, so nothing is kept here and any replica can finish it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass

COOKIE = "longleaf_sign_in"
PATH = "/session/oidc"
SECONDS = 600
"""How long somebody may take at the provider."""
_SECRET_LENGTH = 43  # 32 bytes in base64url


@dataclass(frozen=True, slots=True)
class Attempt:
    """The secret of an attempt, and the workspace that was wished for, if one was."""

    secret: str
    workspace: str | None = None

    @classmethod
    def begin(cls, workspace: str | None) -> Attempt:
        """A new one."""
        return cls(secrets.token_urlsafe(32), workspace)

    @classmethod
    def of_cookie(cls, text: str) -> Attempt | None:
        """The attempt that a cookie holds; None where it holds none."""
        secret, _, wish = text.partition(".")
        if len(secret) != _SECRET_LENGTH or not secret.isascii():
            return None
        try:
            workspace = base64.urlsafe_b64decode(wish.encode()).decode()
        except (binascii.Error, UnicodeError, ValueError):
            return None
        return cls(secret, workspace or None)

    @property
    def cookie(self) -> str:
        """The cookie's text."""
        return f"{self.secret}.{base64.urlsafe_b64encode((self.workspace or '').encode()).decode()}"

    @property
    def state(self) -> str:
        """What the provider sends back unchanged (RFC 6749, section 10.12); it tells nothing of the rest."""
        return self._derived("state")

    @property
    def nonce(self) -> str:
        """What the provider writes into the ID token (OpenID Connect Core, section 3.1.2.1)."""
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """What the code can be redeemed with alone (RFC 7636)."""
        return self._derived("verifier")

    @property
    def challenge(self) -> str:
        """What the provider keeps of the verifier, by the method S256."""
        return _base64(hashlib.sha256(self.verifier.encode()).digest())

    def answers(self, state: str) -> bool:
        """Whether a state is that of this attempt."""
        return hmac.compare_digest(self.state.encode(), state.encode("utf-8", "replace"))

    def _derived(self, purpose: str) -> str:
        return _base64(hmac.digest(self.secret.encode(), purpose.encode(), "sha256"))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
