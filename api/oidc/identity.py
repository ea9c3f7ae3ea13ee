"""From an ID token to who somebody is: every check of OpenID Connect Core, section 3.1.3.7."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from api.oidc.config import Grant
from rag.errors import Unauthenticated

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that are taken: by a key that the provider alone holds; never `none` or a shared secret."""
LEEWAY_SECONDS = 30
"""How far the clocks may be apart."""
_LONGEST = 255
_NAME_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is at a provider. `email` only where the provider says that it has checked it. `token` is
    the ID token that says so."""

    issuer: str
    subject: str
    email: str | None
    name: str
    groups: frozenset[str]
    token: str = field(default="", repr=False)

    def granted(self, grants: tuple[Grant, ...]) -> list[Grant]:
        """Those of the grants that are theirs, in their order."""
        domain = None if self.email is None else self.email.rpartition("@")[2].lower()
        return [
            each
            for each in grants
            if (each.domain is None or each.domain == domain)
            and (each.group is None or each.group in self.groups)
        ]


def key_id(token: str) -> str | None:
    """The name of the key that a token says it is signed with. Raises Unauthenticated (`bad_id_token`)."""
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise _refused("it is no signed token") from error
    if header.get("alg") not in ALGORITHMS:
        raise _refused(f"its signature is by {str(header.get('alg'))[:20]!r}")
    kid = header.get("kid")
    return kid if isinstance(kid, str) else None


def verified(token: str, key: jwt.PyJWK, *, issuer: str, client_id: str, nonce: str) -> dict[str, Any]:
    """The claims of a token. Raises Unauthenticated (`bad_id_token`), which says what is wrong with it."""
    header = jwt.get_unverified_header(token)
    if key.algorithm_name != header["alg"] and not _fits(key, header["alg"]):
        raise _refused("its signature is not of its key's kind")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[header["alg"]],
            audience=client_id,
            issuer=issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except jwt.PyJWTError as error:
        raise _refused(str(error)) from error
    audience = claims["aud"]
    several = isinstance(audience, list) and len(audience) > 1
    if (several or "azp" in claims) and claims.get("azp") != client_id:
        raise _refused("it was made for another client")
    if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        raise _refused("its nonce is not that of this attempt")
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST or not subject.isprintable():
        raise _refused("its subject can't be used")
    return claims


def identity_of(claims: Mapping[str, Any], groups_claim: str) -> Identity:
    """Who is meant by claims that were verified."""
    email = claims.get("email")
    # a string "true" is what some providers send, against the standard; it is not taken
    checked = isinstance(email, str) and claims.get("email_verified") is True
    named = claims.get("name") or claims.get("preferred_username")
    groups = claims.get(groups_claim)
    if isinstance(groups, str):
        groups = [groups]
    return Identity(
        str(claims["iss"]),
        str(claims["sub"]),
        str(email).strip().lower() if checked else None,
        named.strip()[:_NAME_LIMIT] if isinstance(named, str) and named.isprintable() else "",
        frozenset(each for each in groups if isinstance(each, str))
        if isinstance(groups, list)
        else frozenset(),
    )


def _fits(key: jwt.PyJWK, algorithm: str) -> bool:
    """Whether a key may have signed by that algorithm: an RSA key without `alg` serves RS and PS alike."""
    if key._jwk_data.get("alg") is not None:  # the provider bound the key to one algorithm
        return False
    return key.key_type == "RSA" and algorithm[:2] in {"RS", "PS"}


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(
        f"The ID token of the provider is not valid: {why}. Sign in again.", code="bad_id_token"
    )
