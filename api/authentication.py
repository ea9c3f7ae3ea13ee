"""Finds out who makes a request, before anything of it is read, and turns away whom nobody knows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import problem_of
from api.metrics.scraper import scraper
from api.middleware import refuse, same_origin
from api.revoking import while_known
from api.threads import shortly
from api.wiring import Service
from rag.errors import Forbidden, LongleafError, Unauthenticated
from rag.principal import LOCAL, Principal
from rag.store.repositories import Credentials

COOKIE = "longleaf_session"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_NOTE_SECONDS = 60.0
"""How exactly it is known when a key was last used."""


class Authentication:
    """Gives each request its `principal`. Where keys are asked for, one without is let through to routes for
    anyone alone."""

    def __init__(self, app: ASGIApp, service: Service, public: Callable[[str, str], bool]) -> None:
        self.app = app
        self._service = service
        self._public = public
        self._asks = service.settings.auth == "on"
        self._noted: dict[str, float] = {}
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request (ASGI)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["principal"] = None if self._asks else LOCAL
        if self._asks:
            try:
                state["principal"] = await self._principal(scope)
            except LongleafError as error:
                if not self._public(scope["method"], scope["path"]):
                    await refuse(problem_of(error, scope["path"]), scope, receive, send)
                    return
        if self._asks and state["principal"] is not None:
            await while_known(self.app, scope, receive, send, lambda: self._principal(scope))
            return
        await self.app(scope, receive, send)

    async def _principal(self, scope: Scope) -> Principal | None:
        headers = Headers(scope=scope)
        key, cookie = bearer(headers.get("authorization", "")), session_cookie(headers.get("cookie", ""))
        reader = scraper(self._service.settings, scope["method"], scope["path"], key)
        if reader is not None:
            return reader
        if key is None and cookie is None:
            raise Unauthenticated("Say who you are: Authorization: Bearer <API key>.")
        if key is None and scope["method"] not in _SAFE_METHODS and not same_origin(headers):
            raise Forbidden(
                "A browser that is signed in changes things from the service's own page alone.",
                code="cross_origin",
            )
        return await shortly(self._look_up, key, cookie)

    def _look_up(self, key: str | None, cookie: str | None) -> Principal:
        with self._service.db.read() as session:
            credentials = Credentials(session)
            found = credentials.of_cookie(cookie or "") if key is None else credentials.of_key(key)
        if found.kind == "key":
            self._note(found.id)
        return found

    def _note(self, key_id: str) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._noted.get(key_id, -_NOTE_SECONDS) < _NOTE_SECONDS:
                return
            self._noted[key_id] = now
        # not in the request's way: a writer may have to wait for others
        self._service.background(lambda: self._write_note(key_id))

    def _write_note(self, key_id: str) -> None:
        with self._service.db.session() as session:
            Credentials(session).used(key_id)


def bearer(header: str) -> str | None:
    """The key in an `Authorization` header; None where there is none."""
    scheme, _, text = header.partition(" ")
    return text.strip() if scheme.lower() == "bearer" and text.strip() else None


def session_cookie(header: str) -> str | None:
    """The text of our cookie in a `Cookie` header; None where there is none."""
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return found.value if found is not None and found.value else None
