"""The verbs for who may do what; what each does is in `api/commands/`. Who can run them keeps the store."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from api.options import Json, quiet, settings

keys_app = typer.Typer(help="API keys: make, list, rotate, revoke.", no_args_is_help=True)
users_app = typer.Typer(help="Users and their roles.", no_args_is_help=True)
workspaces_app = typer.Typer(help="Workspaces: make, list.", no_args_is_help=True)


class RoleName(StrEnum):
    """Roles, each with what the ones before it may."""

    reader = "reader"
    editor = "editor"
    admin = "admin"


_LIMIT = "0 for no limit, -1 for that of the settings."
Workspace = Annotated[str, typer.Option("--workspace", "-w", metavar="NAME", help="Name or id.")]
Collections = Annotated[
    list[str] | None, typer.Option("--collection", "-c", metavar="NAME", help="This one; may be repeated.")
]
KeyId = Annotated[str, typer.Argument(metavar="KEY", help="Id of the key, `key_…`.")]
Requests = Annotated[
    int | None,
    typer.Option("--requests", min=-1, max=2**31 - 1, metavar="NUMBER", help=f"In a minute; {_LIMIT}"),
]
Tokens = Annotated[
    int | None,
    typer.Option("--tokens", min=-1, max=2**31 - 1, metavar="NUMBER", help=f"In a minute; {_LIMIT}"),
]
Email = Annotated[str, typer.Argument(metavar="EMAIL", help="Address of the person.")]
DEFAULT = "ws_default"


@keys_app.command("create")
def keys_create(  # noqa: PLR0917 (typer calls it by name)
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    role: Annotated[RoleName, typer.Option(help="What it may do at most.")] = RoleName.reader,
    workspace: Workspace = DEFAULT,
    collection: Collections = None,
    user: Annotated[
        str | None, typer.Option(metavar="EMAIL", help="Never more than this member may.")
    ] = None,
    expires: Annotated[
        int | None, typer.Option(min=1, max=3650, metavar="DAYS", help="Valid so long.")
    ] = None,
    operator: Annotated[bool, typer.Option("--operator", help="For all workspaces and users.")] = False,
    requests: Requests = None,
    tokens: Tokens = None,
    json: Json = False,
) -> None:
    """Make a key and show it, this once."""
    from api.commands.keys import run_create  # noqa: PLC0415

    run_create(
        quiet(settings()), name, role.value, workspace=workspace, collections=collection, user=user,
        expires=expires, operator=operator, requests=requests, tokens=tokens, as_json=json,
    )  # fmt: skip


@keys_app.command("list")
def keys_list(workspace: Workspace = DEFAULT, json: Json = False) -> None:
    """List the keys of a workspace, without their secrets."""
    from api.commands.keys import run_list  # noqa: PLC0415

    run_list(quiet(settings()), workspace, as_json=json)


@keys_app.command("rotate")
def keys_rotate(
    key: KeyId,
    grace: Annotated[
        float, typer.Option(min=0, max=720, metavar="HOURS", help="How long the old one is valid.")
    ] = 24.0,
    workspace: Workspace = DEFAULT,
    json: Json = False,
) -> None:
    """Give a key another secret and show it, this once."""
    from api.commands.keys import run_rotate  # noqa: PLC0415

    run_rotate(quiet(settings()), workspace, key, grace, as_json=json)


@keys_app.command("limit")
def keys_limit(
    key: KeyId,
    requests: Requests = None,
    tokens: Tokens = None,
    workspace: Workspace = DEFAULT,
    json: Json = False,
) -> None:
    """Set what a key may use in a minute; what is not given stays."""
    from api.commands.keys import run_limit  # noqa: PLC0415

    run_limit(quiet(settings()), workspace, key, requests=requests, tokens=tokens, as_json=json)


@keys_app.command("revoke")
def keys_revoke(key: KeyId, workspace: Workspace = DEFAULT, json: Json = False) -> None:
    """Make a key worthless at once."""
    from api.commands.keys import run_revoke  # noqa: PLC0415

    run_revoke(quiet(settings()), workspace, key, as_json=json)


@users_app.command("create")
def users_create(
    email: Email,
    name: Annotated[str, typer.Option(metavar="TEXT", help="Name; the address if not given.")] = "",
    operator: Annotated[bool, typer.Option("--operator", help="May do everything everywhere.")] = False,
    json: Json = False,
) -> None:
    """Enter a person, who is a member of nothing yet."""
    from api.commands.users import run_create  # noqa: PLC0415

    run_create(quiet(settings()), email, name, operator=operator, as_json=json)


@users_app.command("list")
def users_list(json: Json = False) -> None:
    """List everybody who was ever entered."""
    from api.commands.users import run_list  # noqa: PLC0415

    run_list(quiet(settings()), as_json=json)


@users_app.command("grant")
def users_grant(
    email: Email,
    role: Annotated[RoleName, typer.Argument(help="reader, editor or admin.")],
    workspace: Workspace = DEFAULT,
    collection: Collections = None,
    json: Json = False,
) -> None:
    """Make a person a member with a role: in these collections or, without any, in all."""
    from api.commands.users import run_grant  # noqa: PLC0415

    run_grant(quiet(settings()), email, role.value, workspace, collection, as_json=json)


@users_app.command("remove")
def users_remove(email: Email, workspace: Workspace = DEFAULT, json: Json = False) -> None:
    """Take a person out of a workspace, with every role there."""
    from api.commands.users import run_remove  # noqa: PLC0415

    run_remove(quiet(settings()), email, workspace, as_json=json)


@users_app.command("disable")
def users_disable(
    email: Email,
    undo: Annotated[bool, typer.Option("--undo", help="Let them in again.")] = False,
    json: Json = False,
) -> None:
    """Keep a person out everywhere, with their keys and browsers."""
    from api.commands.users import run_disable  # noqa: PLC0415

    run_disable(quiet(settings()), email, undo=undo, as_json=json)


@workspaces_app.command("create")
def workspaces_create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name, which no other has.")],
    json: Json = False,
) -> None:
    """Make an empty workspace."""
    from api.commands.workspaces import run_create  # noqa: PLC0415

    run_create(quiet(settings()), name, as_json=json)


@workspaces_app.command("list")
def workspaces_list(json: Json = False) -> None:
    """List all workspaces."""
    from api.commands.workspaces import run_list  # noqa: PLC0415

    run_list(quiet(settings()), as_json=json)


@workspaces_app.command("limit")
def workspaces_limit(  # noqa: PLR0917 (typer calls it by name)
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or id.")],
    requests: Requests = None,
    tokens: Tokens = None,
    documents: Annotated[
        int | None, typer.Option(min=-1, max=2**31 - 1, metavar="NUMBER", help=f"Held; {_LIMIT}")
    ] = None,
    size: Annotated[
        int | None, typer.Option("--bytes", min=-1, max=2**53, metavar="NUMBER", help=f"Held; {_LIMIT}")
    ] = None,
    json: Json = False,
) -> None:
    """Set what all in a workspace may use in a minute and how much it may hold; what is not given stays."""
    from api.commands.workspaces import run_limit  # noqa: PLC0415

    given = {
        "requests_per_minute": requests,
        "tokens_per_minute": tokens,
        "max_documents": documents,
        "max_bytes": size,
    }
    run_limit(quiet(settings()), name, given, as_json=json)
