"""The middleware that enters requests into the audit log, where keys are asked for."""

from __future__ import annotations

import logging
import re

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auditor import Auditor
from api.deed import Deed
from api.errors import problem, problem_response
from api.logs import request_id
from api.sse import ClientGone
from api.threads import shortly
from rag.principal import Principal
from rag.store.repositories.audit import Done

log = logging.getLogger(__name__)

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_ASKING = re.compile(r"/query|/search|/answers/[^/]+/replay|/v1/.+")
_DOWNLOADS = re.compile(r"/documents/[^/]+/(content|text)|/audit/export")
_OWN_ENTRIES = "/mcp"
"""One address for all tools: the server of the protocol knows which is used, and enters that."""
_ID = re.compile(r"[a-z]{2,6}_[0-9a-z]{26}|ws_default")
_GONE, _FAILED = 499, 500


class Auditing:
    """Enters what each known person or key does: a change before its answer begins, the rest after its end.

    A change that can't be entered is answered with 503 `audit_unavailable`: it is done, and not acknowledged.
    """

    def __init__(self, app: ASGIApp, auditor: Auditor) -> None:
        self.app = app
        self._auditor = auditor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request (ASGI)."""
        if scope["type"] != "http" or scope["path"] == _OWN_ENTRIES:
            await self.app(scope, receive, send)
            return
        deed: Deed = scope.setdefault("state", {}).setdefault("deed", Deed())
        status, replaced = 0, False

        async def noted(message: Message) -> None:
            nonlocal status, replaced
            if message["type"] == "http.response.start":
                status = message["status"]
                if _is_change(scope, deed) and not await shortly(self._enter, scope, deed, status):
                    replaced = True
                    detail = (
                        "It is done, and could not be written down; see what became of it before you retry."
                    )
                    body = problem(503, "audit_unavailable", detail, scope["path"])
                    await problem_response(body)(scope, receive, send)
            if not replaced:
                await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception as error:
            if not status:
                status = _GONE if isinstance(error, ClientGone | ClientDisconnect) else _FAILED
                if _is_change(scope, deed):
                    self._later(scope, deed, status)
            raise
        finally:
            if status and _is_use(scope):
                self._later(scope, deed, status)

    def _enter(self, scope: Scope, deed: Deed, status: int) -> bool:
        """Write an entry now; False where that failed."""
        entry = _entry(scope, deed, status)
        try:
            if entry is not None:
                self._auditor.enter(*entry)
        except Exception as error:
            log.error("an entry of the audit log could not be written", exc_info=error)
            return False
        return True

    def _later(self, scope: Scope, deed: Deed, status: int) -> None:
        entry = _entry(scope, deed, status)
        if entry is not None:
            self._auditor.later(*entry)


def _entry(scope: Scope, deed: Deed, status: int) -> tuple[str, Done] | None:
    """Workspace and entry of a request; None where nobody is known, or there is no such route."""
    principal: Principal | None = scope["state"].get("principal")
    actor = deed.actor or (principal.id if principal is not None else None)
    workspace_id = deed.workspace_id or (principal.workspace_id if principal is not None else None)
    path = getattr(scope.get("route"), "path", None)
    if actor is None or workspace_id is None or not isinstance(path, str):
        return None
    # what stands in an address need not be an id, and names are text
    named = [str(each) for each in scope.get("path_params", {}).values() if _ID.fullmatch(str(each))]
    target = " ".join(dict.fromkeys([*named, *deed.ids]))
    return workspace_id, Done(actor, f"{scope['method']} {path}", target, status, request_id.get())


def _is_change(scope: Scope, deed: Deed) -> bool:
    if scope["method"] == "GET":  # one that lets somebody in says so
        return deed.actor is not None
    if scope["method"] == "HEAD":  # one that finds an upload whole takes it in
        return bool(deed.ids)
    return scope["method"] not in _READING and _ASKING.fullmatch(scope["path"]) is None


def _is_use(scope: Scope) -> bool:
    if scope["method"] == "GET":
        return _DOWNLOADS.fullmatch(scope["path"]) is not None
    return scope["method"] == "POST" and _ASKING.fullmatch(scope["path"]) is not None
