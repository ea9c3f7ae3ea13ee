"""Who may use a route: each declares it by the dependency that gives it the service. There is no other way.

`Reads`, `Edits`, `Manages`, `Administers` and `Operates` are the service as who asks sees it; whoever lacks
the role is refused before the route begins. `Anyone` lets everybody in, and shows nobody a workspace. A route
without a declaration keeps the application from being made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, cast

from fastapi import Depends, FastAPI, Request
from fastapi.routing import RouteContext, iter_route_contexts

from api.deed import Deed
from api.wiring import Service
from rag.errors import Forbidden, Unauthenticated
from rag.principal import Principal
from rag.roles import Role
from rag.store.repositories.audit import SERVICE

Need = Literal["anyone", "reader", "editor", "manager", "admin", "operator"]
"""What a route asks for: nothing; a role in some collection (a `manager` is the admin of one); `admin` in the
whole workspace; or an operator of the whole service."""

PUBLIC_PATHS = frozenset({"/openapi.json", "/assets"})
"""What frameworks add without dependencies: the schema, and the files of the page."""
_ROLES: dict[Need, Role] = {"reader": "reader", "editor": "editor", "manager": "admin", "admin": "admin"}


class Access:
    """A dependency that lets through who may use a route, and gives it the service as they see it."""

    def __init__(self, need: Need) -> None:
        self.need = need

    async def __call__(self, request: Request) -> Service:
        """Raises Unauthenticated, Forbidden. It waits for nothing, and as a coroutine needs no thread."""
        service = cast(Service, request.app.state.service)
        state = request.scope.setdefault("state", {})
        principal: Principal | None = state.get("principal")
        deed: Deed = state.setdefault("deed", Deed())
        if self.need == "anyone":
            return service.acting_for(principal, deed=deed)
        if self.need == "operator":
            deed.workspace_id = SERVICE
        if principal is None:
            raise Unauthenticated("Say who you are: Authorization: Bearer <API key>.")
        if not self.allows(principal):
            raise Forbidden(
                f"This needs the role of {_named(self.need)}; {principal.name!r} does not have it."
            )
        return service.acting_for(principal, _ROLES.get(self.need, "admin"), deed)

    def allows(self, principal: Principal) -> bool:
        """Whether somebody may use such a route at all; in which collections, the repositories judge."""
        if self.need == "operator":
            return principal.operator
        return self.need == "anyone" or principal.may(_ROLES[self.need], everywhere=self.need == "admin")


def editing(service: Service) -> Service:
    """The service of a route for readers, for a part of it that writes. Raises Forbidden."""
    principal = service.principal
    if principal is None or not principal.may("editor"):
        raise Forbidden("This needs the role of an editor.")
    return service.acting_for(principal, "editor", service.deed)


def _named(need: Need) -> str:
    return {"manager": "an admin", "admin": "an admin of the workspace"}.get(need, f"a {need}")


Anyone = Annotated[Service, Depends(Access("anyone"))]
Reads = Annotated[Service, Depends(Access("reader"))]
Edits = Annotated[Service, Depends(Access("editor"))]
Manages = Annotated[Service, Depends(Access("manager"))]
Administers = Annotated[Service, Depends(Access("admin"))]
Operates = Annotated[Service, Depends(Access("operator"))]
PUBLIC = Depends(Access("anyone"))
"""For routes that have no use for the service: `dependencies=[PUBLIC]`."""


def need_of(route: RouteContext) -> Need | None:
    """What a route asks for; None where it does not say, or says two things."""
    found = {
        each.call.need
        for each in dependencies_of(getattr(route, "dependant", None))
        if isinstance(each.call, Access)
    }
    if len(found) == 1:
        return found.pop()
    return "anyone" if not found and route.path in PUBLIC_PATHS else None


def dependencies_of(dependant: Any) -> Iterator[Any]:
    """What a route depends on, at any depth; nothing for one that is not FastAPI's."""
    for each in getattr(dependant, "dependencies", ()):
        yield each
        yield from dependencies_of(each)


def declared(app: FastAPI) -> list[tuple[RouteContext, Need]]:
    """Every route of the application with what it asks for. Raises RuntimeError for one that does not say."""
    found: list[tuple[RouteContext, Need]] = []
    for route in iter_route_contexts(app.routes):
        need = need_of(route)
        if need is None:
            raise RuntimeError(
                f"the route {route.path} does not say, once, who may use it; see api/access.py"
            )
        found.append((route, need))
    return found


def template_in(routes: list[tuple[RouteContext, Need]]) -> Callable[[str], str | None]:
    """A function from a path, as it stands in a request, to its route's template, or None."""
    patterns = [(route.path_regex, str(route.path)) for route, _ in routes]
    return lambda path: next((name for pattern, name in patterns if pattern.match(path)), None)


def is_public(routes: list[tuple[RouteContext, Need]]) -> Callable[[str, str], bool]:
    """A test whether a method and a path, as they stand in a request, are those of a route for anyone."""
    public: list[tuple[frozenset[str] | None, re.Pattern[str]]] = []
    for route, need in routes:
        if need == "anyone":
            methods = route.methods
            public.append((None if methods is None else frozenset(methods), route.path_regex))
    return lambda method, path: any(
        (methods is None or method in methods) and pattern.match(path) for methods, pattern in public
    )
