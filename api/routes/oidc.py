"""Signing in with a company's identity provider: to it, and back from it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from api import schemas
from api.access import Anyone
from api.authentication import COOKIE
from api.oidc.admitting import admit
from api.oidc.attempt import COOKIE as ATTEMPT_COOKIE
from api.oidc.attempt import PATH, SECONDS, Attempt
from api.oidc.provider import Provider
from api.routes.shared import problems
from api.schemas.people import WorkspaceName
from api.threads import shortly
from api.wiring import Service
from rag.errors import Conflict, InvalidRequest, LongleafError, Unauthenticated
from rag.principal import Principal

router = APIRouter(tags=["people"])

TOKEN_COOKIE = "longleaf_id_token"  # noqa: S105 (its name)
"""Shows the provider whom to sign out. The browser keeps it for that alone, and sends it nowhere else."""
SIGN_OUT_PATH = f"{PATH}/sign-out"
MOST_TOKEN = 3500
"""Longest ID token that is kept; browsers refuse cookies of more than 4096 bytes."""

_SENT: dict[int | str, dict[str, Any]] = {
    303: {"description": "To the provider.", "headers": {"Location": {"schema": {"type": "string"}}}},
    **problems(
        s409="No provider is set up (`no_provider`).",
        s503="The provider can't be reached (`provider_unavailable`).",
    ),
}
_BACK: dict[int | str, dict[str, Any]] = {
    303: {
        "description": "Signed in, and to the page. Browsers that were not let in are sent there "
        "too, with the code of the problem behind `#sign-in=`.",
        "headers": {"Location": {"schema": {"type": "string"}}},
    },
    **problems(
        s401="The provider does not confirm it (`sign_in_refused`, `bad_id_token`, `wrong_issuer`).",
        s403="Known to the provider and not admitted (`not_admitted`).",
        s404="There is no such workspace for them (`workspace_not_found`).",
        s409="No provider is set up (`no_provider`); or the address is another user's (`duplicate_user`).",
        s422="This browser has not begun this sign-in (`sign_in_expired`).",
        s503="The provider can't be reached (`provider_unavailable`).",
    ),
}


_OUT: dict[int | str, dict[str, Any]] = {
    303: {
        "description": "To the provider, or to the page where that offers nothing.",
        "headers": {"Location": {"schema": {"type": "string"}}},
    },
    **problems(
        s409="No provider is set up (`no_provider`).",
        s503="The provider can't be reached (`provider_unavailable`).",
    ),
}


@router.get("/session", response_model=schemas.SignInWays, summary="Ways to sign in")
def ways(service: Anyone) -> schemas.SignInWays:
    """How a browser can sign in: with a key always, and with a provider where one is set up."""
    provider = service.provider
    return schemas.SignInWays(provider=None if provider is None else provider.config.name)


@router.get(
    "/session/oidc", status_code=303, response_class=Response, summary="To the provider", responses=_SENT
)
async def begin(
    service: Anyone,
    workspace: Annotated[
        WorkspaceName | None, Query(description="Name or id of the workspace to sign in to.")
    ] = None,
) -> Response:
    """Send the browser to the provider, with a cookie that binds what comes back to it."""
    provider = _provider(service)
    attempt = Attempt.begin(workspace)
    response = RedirectResponse(await provider.authorization_url(attempt), 303)
    # Lax: it has to come along when the provider sends the browser back, and then alone
    response.set_cookie(
        ATTEMPT_COOKIE,
        attempt.cookie,
        max_age=SECONDS,
        path=PATH,
        httponly=True,
        samesite="lax",
        secure=provider.config.secure,
    )
    response.headers["Cache-Control"] = "no-store"
    return response


@router.get(
    "/session/oidc/callback",
    status_code=303,
    response_class=Response,
    summary="Back from the provider",
    responses=_BACK,
)
async def finish(
    request: Request,
    service: Anyone,
    answer: Annotated[schemas.ProviderAnswer, Query()],
) -> Response:
    """Let the browser in that the provider vouches for: it gets the same cookie as with a key.

    What else stands in the query is the provider's and is not read. It always goes on to the page.
    """
    provider = _provider(service)
    try:
        (principal, text, until), token = await _finish(service, provider, request, answer)
    except LongleafError as problem:
        if "text/html" not in request.headers.get("accept", ""):
            raise
        response: Response = RedirectResponse(f"/#sign-in={quote(problem.code)}", 303)
    else:
        service.deed.actor, service.deed.workspace_id = principal.id, principal.workspace_id
        response = RedirectResponse("/", 303)
        secure = provider.config.secure
        response.set_cookie(COOKIE, text, expires=until, httponly=True, samesite="strict", secure=secure)
        if len(token) <= MOST_TOKEN:
            response.set_cookie(
                *(TOKEN_COOKIE, token),
                expires=until,
                path=SIGN_OUT_PATH,
                httponly=True,
                samesite="strict",
                secure=secure,
            )
    response.delete_cookie(ATTEMPT_COOKIE, path=PATH, httponly=True, samesite="lax")
    response.headers["Cache-Control"] = "no-store"
    return response


async def _finish(
    service: Service, provider: Provider, request: Request, answer: schemas.ProviderAnswer
) -> tuple[tuple[Principal, str, datetime], str]:
    attempt = Attempt.of_cookie(request.cookies.get(ATTEMPT_COOKIE, ""))
    if attempt is None or answer.state is None or not attempt.answers(answer.state):
        raise InvalidRequest(
            "This browser has not begun this sign-in, or it took longer than ten minutes; begin again.",
            code="sign_in_expired",
        )
    await provider.check_issuer(answer.iss)
    if not answer.code:
        error = answer.error
        said = error if error is not None and error.isascii() and error.isprintable() else "no code"
        raise Unauthenticated(
            f"The provider does not confirm the sign-in ({said[:100]}); sign in again.",
            code="sign_in_refused",
        )
    identity = await provider.redeem(answer.code, attempt)

    wish, hours, grants = attempt.workspace, service.settings.sign_in_hours, provider.config.grants

    def enter() -> tuple[Principal, str, datetime]:
        with service.db.session() as session:
            return admit(session, identity, grants, wish=wish, hours=hours)

    return await shortly(enter), identity.token


@router.get(
    SIGN_OUT_PATH,
    status_code=303,
    response_class=Response,
    summary="Sign out at the provider",
    responses=_OUT,
)
async def end(request: Request, service: Anyone) -> Response:
    """Send a browser that was signed out here to the provider, to sign out there too; it ends at the page.

    Where the provider offers no such thing, it goes to the page at once. The session here is ended by
    `DELETE /session` alone: this is reached by links, and another site's must not sign anybody out.
    """
    provider = _provider(service)
    token = request.cookies.get(TOKEN_COOKIE)
    try:
        address = await provider.sign_out_url(token)
    except LongleafError:
        if "text/html" not in request.headers.get("accept", ""):
            raise
        address = None
    response = RedirectResponse(address or "/", 303)
    response.delete_cookie(TOKEN_COOKIE, path=SIGN_OUT_PATH, httponly=True, samesite="strict")
    response.headers["Cache-Control"] = "no-store"
    return response


def _provider(service: Service) -> Provider:
    """Raises Conflict (`no_provider`)."""
    if service.provider is None:
        raise Conflict(
            "No provider is set up to sign in with; set LONGLEAF_OIDC_ISSUER, or sign in with an API key.",
            code="no_provider",
        )
    return service.provider
