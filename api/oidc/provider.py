"""The provider over HTTP: its description, its keys, and the exchange of a code for an ID token."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import jwt

from api.oidc.attempt import Attempt
from api.oidc.config import BadSignIn, SignInConfig, check_address
from api.oidc.identity import Identity, identity_of, key_id, verified
from rag.errors import Unauthenticated, Unavailable

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
FRESH_SECONDS = 3600.0
"""How long description and keys are believed."""
ANEW_SECONDS = 30.0
"""How often keys are asked for at most when a token names one that is not known."""
MAX_BYTES = 1024 * 1024
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_FURTHER_ENDPOINTS = ("userinfo_endpoint", "end_session_endpoint")


class ProviderUnavailable(Unavailable):
    """The provider can't be asked. `why` is for who keeps the service; whoever signs in is not told."""

    default_code = "provider_unavailable"

    def __init__(self, why: str) -> None:
        super().__init__(
            "The provider that people sign in with can't be reached, or answers in a way that can't be used; "
            "the log says more. An API key works all the same."
        )
        self.why = why


@dataclass(frozen=True, slots=True)
class _Kept:
    value: dict[str, Any]
    at: float


class Provider:
    """One provider. Every method raises ProviderUnavailable where it can't be asked."""

    def __init__(self, config: SignInConfig) -> None:
        """Connects to nothing yet."""
        self.config = config
        self._description: _Kept | None = None
        self._keys: _Kept | None = None

    async def check(self) -> None:
        """Read its description and its keys, as a sign-in does."""
        await self._read_keys()

    async def authorization_url(self, attempt: Attempt) -> str:
        """Where the browser is sent to sign in."""
        description = await self._describe()
        asked = {
            "response_type": "code",
            "client_id": self.config.client_id,
            "redirect_uri": self.config.callback,
            "scope": self.config.scopes,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        address = str(description["authorization_endpoint"])
        return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"

    async def check_issuer(self, given: str | None) -> None:
        """Refuse an answer that another provider gave (RFC 9207). Raises Unauthenticated (`wrong_issuer`)."""
        promised = (await self._describe()).get("authorization_response_iss_parameter_supported") is True
        if given == self.config.issuer or (given is None and not promised):
            return
        raise Unauthenticated("The answer is not of the provider that was asked.", code="wrong_issuer")

    async def redeem(self, code: str, attempt: Attempt) -> Identity:
        """Who signed in. Raises Unauthenticated (`sign_in_refused`, `bad_id_token`)."""
        description = await self._describe()
        tokens = await self._exchange(description, code, attempt)
        token = tokens.get("id_token")
        if not isinstance(token, str):
            raise Unauthenticated(
                "The provider sent no ID token; ask for the scope openid.", code="bad_id_token"
            )
        key = await self._key(key_id(token))
        claims = verified(
            token,
            key,
            issuer=self.config.issuer,
            client_id=self.config.client_id,
            nonce=attempt.nonce,
        )
        claims = await self._completed(description, tokens, claims)
        return replace(identity_of(claims, self.config.groups_claim), token=token)

    async def sign_out_url(self, token: str | None) -> str | None:
        """Where a browser is sent to sign out at the provider (OpenID Connect RP-Initiated Logout 1.0); None
        where that offers nothing. Without the ID `token` of the sign-in it asks the person first.

        No `state` goes along: nothing is done when the browser is back, so nothing has to be bound to it.
        """
        address = (await self._describe()).get("end_session_endpoint")
        if not isinstance(address, str):
            return None
        asked = {"client_id": self.config.client_id, "post_logout_redirect_uri": self.config.home}
        if token:
            asked["id_token_hint"] = token
        return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"

    async def _exchange(self, description: dict[str, Any], code: str, attempt: Attempt) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.config.callback,
            "code_verifier": attempt.verifier,
        }
        headers: dict[str, str] = {}
        methods = description.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if self.config.secret is None:
            form["client_id"] = self.config.client_id
        elif "client_secret_basic" in methods:
            # form-encoded before base64, as RFC 6749, section 2.3.1, wants it
            user, password = quote(self.config.client_id, safe=""), quote(self.config.secret, safe="")
            headers["Authorization"] = httpx.BasicAuth(user, password)._auth_header
        else:
            form |= {"client_id": self.config.client_id, "client_secret": self.config.secret}
        status, body = await _ask("POST", str(description["token_endpoint"]), headers, form)
        if status != 200:
            named = body.get("error")
            said = (
                named if isinstance(named, str) and named.isascii() and named.isprintable() else str(status)
            )
            log.warning("the provider did not redeem a code: %s", said[:100])
            raise Unauthenticated(
                f"The provider does not confirm the sign-in ({said[:100]}); sign in again.",
                code="sign_in_refused",
            )
        return body

    async def _completed(
        self, description: dict[str, Any], tokens: dict[str, Any], claims: dict[str, Any]
    ) -> dict[str, Any]:
        """The claims, with those that the provider gives at its second address alone."""
        address, access = description.get("userinfo_endpoint"), tokens.get("access_token")
        if not isinstance(address, str) or not isinstance(access, str):
            return claims
        if {"email", self.config.groups_claim} <= claims.keys():
            return claims
        status, more = await _ask("GET", address, {"Authorization": f"Bearer {access}"})
        if status != 200:
            return claims
        if more.get("sub") != claims["sub"]:  # OpenID Connect Core, section 5.3.2
            raise Unauthenticated("The provider speaks of somebody else; sign in again.", code="bad_id_token")
        if "email" in claims:  # that one was checked is told of the address beside it alone
            more = {name: value for name, value in more.items() if name != "email_verified"}
        return more | claims

    async def _describe(self) -> dict[str, Any]:
        kept, now = self._description, time.monotonic()
        if kept is not None and now - kept.at < FRESH_SECONDS:
            return kept.value
        issuer = self.config.issuer
        status, found = await _ask("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if status != 200 or found.get("issuer") != issuer:
            said = str(found.get("issuer"))[:200]
            raise _unavailable(f"its description (status {status}) says that its issuer is {said!r}")
        try:
            for name in _ENDPOINTS:
                check_address(name, str(found.get(name)))
            for name in _FURTHER_ENDPOINTS:
                if found.get(name) is not None:
                    check_address(name, str(found[name]))
        except BadSignIn as error:
            raise _unavailable(error.detail) from error
        self._description = _Kept(found, now)
        return found

    async def _key(self, name: str | None) -> jwt.PyJWK:
        """The key of that name; the only one where a token names none."""
        found = self._among(name)
        age = None if self._keys is None else time.monotonic() - self._keys.at
        if (found is None and (age is None or age > ANEW_SECONDS)) or (age or 0) > FRESH_SECONDS:
            await self._read_keys()
            found = self._among(name)
        if found is None:
            raise Unauthenticated(
                "The ID token is signed by a key that the provider does not show.", code="bad_id_token"
            )
        return found

    async def _read_keys(self) -> None:
        status, body = await _ask("GET", str((await self._describe())["jwks_uri"]))
        if status != 200:
            raise _unavailable(f"its keys can't be read (status {status})")
        self._keys = _Kept(body, time.monotonic())

    def _among(self, name: str | None) -> jwt.PyJWK | None:
        entries = self._keys.value.get("keys") if self._keys is not None else None
        usable: list[jwt.PyJWK] = []
        for each in entries if isinstance(entries, list) else ():
            if not isinstance(each, dict) or each.get("use", "sig") != "sig" or each.get("kty") == "oct":
                continue
            if name is not None and each.get("kid") != name:
                continue
            try:
                usable.append(jwt.PyJWK(each))
            except jwt.PyJWTError:
                continue  # of a kind that is not known here
        return usable[0] if len(usable) == 1 else None


async def _ask(
    method: str, url: str, headers: dict[str, str] | None = None, form: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Status and JSON object of an answer; follows no redirect and reads no more than `MAX_BYTES`."""
    sent = {"Accept": "application/json", **(headers or {})}
    try:
        async with (
            httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=True) as client,
            client.stream(method, url, headers=sent, data=form) as response,
        ):
            data = bytearray()
            async for part in response.aiter_bytes():
                data += part
                if len(data) > MAX_BYTES:
                    raise _unavailable("its answer is too long")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _unavailable(str(error) or type(error).__name__) from error
    try:
        body = json.loads(bytes(data))
    except ValueError:
        body = None
    if not isinstance(body, dict):
        if response.status_code == 200:
            raise _unavailable("its answer is no JSON object")
        body = {}
    return response.status_code, body


def _unavailable(why: str) -> ProviderUnavailable:
    log.warning("the sign-in's provider can't be used: %s", why)
    return ProviderUnavailable(why)
