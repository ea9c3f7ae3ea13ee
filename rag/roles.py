"""What somebody may do in a workspace or a collection: three roles, each with what the ones before it may."""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["reader", "editor", "admin"]
"""`reader` reads, searches and asks; `editor` sends, changes and deletes documents; `admin` decides."""

ROLES: tuple[Role, ...] = get_args(Role)


def covers(held: Role | None, needed: Role) -> bool:
    """Whether who holds one role may do what another one is needed for."""
    return held is not None and ROLES.index(held) >= ROLES.index(needed)


def lesser(one: Role, other: Role) -> Role:
    """The one of two roles that may do less."""
    return other if covers(one, other) else one


def greater(one: Role | None, other: Role | None) -> Role | None:
    """The one of two roles that may do more; None is no role."""
    if one is None or other is None:
        return one or other
    return one if covers(one, other) else other
