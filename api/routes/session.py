"""Signing a browser in and out, and who one is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from api import people, schemas
from api.access import Anyone, Reads
from api.authentication import COOKIE, session_cookie
from api.routes.shared import problems
from rag.store.repositories import Credentials, Workspaces

router = APIRouter(tags=["people"])

_SIGNED_IN: dict[int | str, dict[str, Any]] = {
    204: {"description": "Signed in.", "headers": {"Set-Cookie": {"schema": {"type": "string"}}}},
    **problems(s401="The key is not valid (`invalid_key`)."),
}


@router.post("/session", status_code=204, response_class=Response, summary="Sign in", responses=_SIGNED_IN)
def sign_in(request: Request, service: Anyone, body: schemas.SignIn) -> Response:
    """Let the browser in that shows a key: it gets a cookie which no script can read."""
    with service.db.session() as session:
        who, text, until = Credentials(session).sign_in(body.key, service.settings.sign_in_hours)
    service.deed.actor, service.deed.workspace_id = who.id, who.workspace_id
    response = Response(status_code=204)
    response.set_cookie(
        COOKIE,
        text,
        expires=until,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.delete("/session", status_code=204, response_class=Response, summary="Sign out")
def sign_out(request: Request, service: Anyone) -> Response:
    """Make the browser's cookie worthless."""
    held = session_cookie(request.headers.get("cookie", ""))
    if held is not None:
        with service.db.session() as session:
            Credentials(session).sign_out(held)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


@router.get("/me", response_model=schemas.Me, summary="Who am I?")
def me(service: Reads) -> schemas.Me:
    """Who asks, in which workspace, with which roles."""
    who = service.principal
    assert who is not None, "a route for readers was reached by nobody"  # noqa: S101
    with service.db.read() as session:
        row = Workspaces(session).get(who.workspace_id)
    return schemas.Me(
        kind=who.kind,
        id=who.id,
        name=who.name,
        workspace=people.workspace(row),
        role=who.role,
        collections=dict(who.collections),
        operator=who.operator,
    )
