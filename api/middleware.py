"""What happens to every request before a route sees it: identity, log line, host, origin, limits."""

from __future__ import annotations

import ipaddress
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio
from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem, problem_of, problem_response
from api.logs import request_id
from api.metrics.recorder import METHODS, OTHER_METHOD, UNMATCHED, Metrics
from api.sse import ClientGone
from api.tracing import Tracing, request_span
from rag.settings import Settings

log = logging.getLogger("api.access")

MAX_JSON_BYTES = 1024 * 1024
"""Largest body of a request that is not an upload, in bytes."""
MAX_PROMPT_BYTES = 16 * 1024 * 1024
"""The same under `/v1`, where clients send what the model reads: 128k tokens and batches of such."""

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_UPLOADS = re.compile(r"POST /documents|PUT /documents/[^/]+|POST /uploads|(PATCH|POST) /uploads/[^/]+")
_UNSTORED = (
    "/documents",
    "/query",
    "/search",
    "/collections",
    "/answers",
    "/conversations",
    "/uploads",
    "/v1",
)
_QUIET_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})


class RequestFrame:
    """Gives each request its id, its security headers and its log line, counts it by its route's template,
    and answers what nobody caught."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        template: Callable[[str], str | None],
        tracing: Tracing | None = None,
        leaving: threading.Event | None = None,
    ) -> None:
        self.app = app
        self._leaving = leaving or threading.Event()
        self._tracing = tracing
        self._metrics = metrics
        self._template = template

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request (ASGI)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        identity = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        token = request_id.set(identity)
        started = time.perf_counter()
        status = 0
        self._metrics.in_progress.inc()

        async def framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = identity
                if self._leaving.is_set():
                    headers["Connection"] = "close"  # so that the next request opens one, elsewhere
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith(_UNSTORED):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        method = scope["method"] if scope["method"] in METHODS else OTHER_METHOD
        route = self._template(scope["path"]) or UNMATCHED
        with request_span(self._tracing, method, route, Headers(scope=scope)) as span:
            try:
                await self.app(scope, receive, framed)
            except (ClientGone, ClientDisconnect):
                pass
            except Exception as error:
                body = problem_of(error, scope["path"])
                if status:
                    raise  # the answer has begun: the server can only cut it off
                await problem_response(body | {"request_id": identity})(scope, receive, framed)
            finally:
                # 499 is nginx's number for a client that left before its answer
                status = status or 499
                self._metrics.in_progress.dec()
                seconds = time.perf_counter() - started
                self._metrics.request(method, route, status, seconds)
                if span is not None:
                    found = {"http.response.status_code": status, "longleaf.request_id": identity}
                    span.set_attributes(found)
                _log(scope, status, seconds)
                request_id.reset(token)


def _log(scope: Scope, status: int, seconds: float) -> None:
    level = logging.DEBUG if scope["path"] in _QUIET_PATHS else logging.INFO
    client = scope.get("client")
    log.log(
        level,
        "%s %s",
        scope["method"],
        scope["path"],
        extra={
            "status": status,
            "ms": round(seconds * 1000, 1),
            "client": client[0] if client else "",
        },
    )


class HostAndOrigin:
    """Refuses names that are not ours (DNS rebinding) and writes that another site's page makes (CSRF)."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.hosts = allowed_hosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request (ASGI)."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            refused = self._host(headers) or _origin(scope["method"], headers)
            if refused:
                status, code, detail = refused
                body = problem(status, code, detail, scope["path"])
                await problem_response(body)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _host(self, headers: Headers) -> tuple[int, str, str] | None:
        host = host_name(headers.get("host", ""))
        if self.hosts is None or host in self.hosts:
            return None
        detail = f"The service does not answer to the name {host!r}; LONGLEAF_ALLOWED_HOSTS can add it."
        return 400, "host_not_allowed", detail


def _origin(method: str, headers: Mapping[str, str]) -> tuple[int, str, str] | None:
    # The rule of Go's http.CrossOriginProtection: the browser's own word first, else Origin against Host.
    if method in _SAFE_METHODS:
        return None
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site in {"same-origin", "none"}:
        return None
    if site is None and (origin is None or _netloc(origin) == headers.get("host", "").lower()):
        return None
    detail = f"A page of another site ({origin or 'unknown'}) may not change anything here."
    return 403, "cross_origin", detail


def same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a request comes from our own page; not for what no browser sent."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site == "same-origin"
    return origin is not None and _netloc(origin) == headers.get("host", "").lower()


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def host_name(host: str) -> str:
    """Return the name in a `Host` header, without its port and in lower case; `[::1]` keeps its brackets."""
    name = host.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0]


def is_loopback(address: str) -> bool:
    """True for an address that only this machine reaches."""
    if address.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def allowed_hosts(settings: Settings) -> frozenset[str] | None:
    """Return the names that the service answers to; None for any.

    `LONGLEAF_ALLOWED_HOSTS` adds to the names of the loopback address; a service bound to another address
    answers to any name unless the setting names some; `*` allows any.
    """
    names = {host_name(name) for name in settings.allowed_hosts.split(",") if name.strip()}
    if "*" in names or (not names and not is_loopback(settings.host)):
        return None
    return frozenset(names | set(LOOPBACK_NAMES))


class BodyLimit:
    """Bounds the body of every request while it is read; uploads may be larger than the rest."""

    def __init__(self, app: ASGIApp, max_upload_bytes: int) -> None:
        self.app = app
        self.max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request (ASGI)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        upload = _UPLOADS.fullmatch(f"{scope['method']} {scope['path']}")
        most = MAX_PROMPT_BYTES if scope["path"].startswith("/v1/") else MAX_JSON_BYTES
        limit = self.max_upload_bytes if upload else most
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            detail = f"The body has {int(declared):,} bytes; {limit:,} are allowed."
            await _refuse_body(detail, limit, scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            if message["type"] == "http.request":
                read += len(message.get("body", b""))
                if read > limit:
                    raise HTTPException(413, f"The body has more than the {limit:,} bytes that are allowed.")
            return message

        await self.app(scope, counted, send)


async def _refuse_body(detail: str, limit: int, scope: Scope, receive: Receive, send: Send) -> None:
    body = problem(413, "too_large", detail, scope["path"], {"limit": limit})
    await refuse(body, scope, receive, send)


async def refuse(
    body: Mapping[str, Any],
    scope: Scope,
    receive: Receive,
    send: Send,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Answer a request with a problem before anything of it was read."""
    response = problem_response(body, headers)
    if scope["method"] in _SAFE_METHODS:
        await response(scope, receive, send)
    else:  # a body may be on its way
        await Lingering(receive, send).send(response, scope)


class Lingering:
    """Sends an answer before the body was read, then reads on for a moment before the connection closes.

    A server that closes with unread bytes makes the kernel reset the connection, and the client loses the
    answer that it was sent (nginx calls the remedy lingering_close).
    """

    SECONDS = 2.0
    MAX_BYTES = 64 * 1024 * 1024

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    async def send(self, response: ASGIApp, scope: Scope) -> None:
        """Send `response` with `Connection: close`, hold its end back, and drain what still comes."""

        async def hold(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
            elif message["type"] == "http.response.body":
                message = {**message, "more_body": True}
            await self._send(message)

        await response(scope, self._receive, hold)
        drained = 0
        with anyio.move_on_after(self.SECONDS):
            while drained < self.MAX_BYTES:
                message = await self._receive()
                drained += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body"):
                    break
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
