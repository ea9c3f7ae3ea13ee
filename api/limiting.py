"""Limits of requests and tokens in a minute, by key and by workspace, and the fields that tell of them.

The fields are those of the IETF's draft "RateLimit header fields for HTTP"; under `/v1` OpenAI's beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.deed import Deed
from api.errors import problem_of
from api.lanes import lane_of
from api.middleware import refuse
from api.threads import shortly
from api.v1 import errors as openai_errors
from api.wiring import Service
from rag.errors import LongleafError, TooMany
from rag.principal import Principal
from rag.rates import Allowance, Kind, Standing
from rag.settings import Settings


class Limiting:
    """Refuses what is beyond somebody's limits, and takes from them what was used."""

    def __init__(self, app: ASGIApp, service: Service, public: Callable[[str, str], bool]) -> None:
        self.app = app
        self._service = service
        self._rates = service.rates
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request (ASGI)."""
        principal: Principal | None = scope.get("state", {}).get("principal")
        allowances: list[Allowance] = []
        # a Prometheus with its token is in no workspace, and is not limited
        known = principal is not None and principal.kind != "local" and principal.workspace_id != ""
        if scope["type"] == "http" and principal is not None and known:
            allowances = allowances_of(principal, self._service.settings)
        if not allowances or self._public(scope["method"], scope["path"]):
            await self.app(scope, receive, send)
            return
        if lane_of(scope["method"], scope["path"]) != "questions":
            allowances = [each for each in allowances if each.kind == "requests"]
        try:
            standings = await self._admit(allowances)
        except LongleafError as error:
            await refuse(problem_of(error, scope["path"]), scope, receive, send)
            return
        headers = fields(standings, openai=openai_errors.concerns(scope["path"]))
        if (refusal := _refusal(standings)) is not None:
            await refuse(problem_of(refusal, scope["path"]), scope, receive, send, headers)
            return
        deed: Deed = scope["state"].setdefault("deed", Deed())

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        try:
            await self.app(scope, receive, told)
        finally:
            tokened = [each for each in allowances if each.kind == "tokens"]
            if tokened and deed.tokens:
                # not in the answer's way, and also when nobody waits for it any more
                self._service.background(lambda: self._rates.charge(tokened, deed.tokens))

    async def _admit(self, allowances: Sequence[Allowance]) -> list[Standing]:
        if not allowances:
            return []
        if self._rates.waits:
            return await shortly(self._rates.admit, allowances)
        return self._rates.admit(allowances)


def allowances_of(principal: Principal, settings: Settings) -> list[Allowance]:
    """What somebody may use in a minute: their own, and their workspace's with all others in it."""
    own, shared = principal.limits, principal.workspace_limits
    named: tuple[tuple[str, str, Kind, int | None, int], ...] = (
        ("key-requests", principal.id, "requests", own.requests, settings.key_requests_per_minute),
        ("key-tokens", principal.id, "tokens", own.tokens, settings.key_tokens_per_minute),
        (
            *("workspace-requests", principal.workspace_id, "requests"),
            *(shared.requests, settings.workspace_requests_per_minute),
        ),
        (
            *("workspace-tokens", principal.workspace_id, "tokens"),
            *(shared.tokens, settings.workspace_tokens_per_minute),
        ),
    )
    found = []
    for name, subject, kind, most, default in named:
        limit = default if most is None else most
        if limit:
            found.append(Allowance(name, subject, kind, limit))
    return found


def fields(standings: Sequence[Standing], *, openai: bool) -> dict[str, str]:
    """The header fields that say how things stand."""
    if not standings:
        return {}
    found = {
        "RateLimit-Policy": ", ".join(_policy(each.allowance) for each in standings),
        "RateLimit": ", ".join(
            f'"{each.allowance.name}";r={each.remaining};t={math.ceil(each.full_in)}' for each in standings
        ),
    }
    if openai:
        kinds: tuple[Kind, ...] = ("requests", "tokens")
        for kind in kinds:
            of_kind = [each for each in standings if each.allowance.kind == kind]
            if of_kind:
                least = min(of_kind, key=lambda each: each.level)
                found[f"x-ratelimit-limit-{kind}"] = str(least.allowance.most)
                found[f"x-ratelimit-remaining-{kind}"] = str(least.remaining)
                found[f"x-ratelimit-reset-{kind}"] = f"{least.full_in:.3f}s"
    return found


def _policy(allowance: Allowance) -> str:
    # "requests" is the draft's own unit, and what is meant without one
    unit = ';qu="tokens"' if allowance.kind == "tokens" else ""
    return f'"{allowance.name}";q={allowance.most};w=60{unit}'


def _refusal(standings: Sequence[Standing]) -> TooMany | None:
    late = max(standings, key=lambda each: each.wait, default=None)
    if late is None or not late.wait:
        return None
    allowance, seconds = late.allowance, max(1, math.ceil(late.wait))
    whose = "This key" if allowance.name.startswith("key") else "The workspace"
    return TooMany(
        f"{whose} has used the {allowance.most:,} {allowance.kind} that it may use in a minute; try again in "
        f"{seconds} s.",
        extra={"retry_after": seconds, "policy": allowance.name, "limit": allowance.most},
    )
