"""The verbs for the audit log; what each does is in `api/commands/audit.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.options import Json, quiet, settings

audit_app = typer.Typer(help="Who did what: write out, check.", no_args_is_help=True)


@audit_app.command("export")
def audit_export(
    target: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="New file; stdout if not given.")
    ] = None,
    workspace: Annotated[
        str | None,
        typer.Option("--workspace", "-w", metavar="NAME", help="This one alone; `service` for no one's."),
    ] = None,
    after: Annotated[int, typer.Option(min=0, metavar="NUMBER", help="Entries after this one.")] = 0,
) -> None:
    """Write the audit log as JSON lines."""
    from api.commands.audit import run_export  # noqa: PLC0415

    run_export(quiet(settings()), target, workspace, after)


@audit_app.command("verify")
def audit_verify(
    source: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="An exported file; the store if not given.")
    ] = None,
    known: Annotated[
        list[str] | None,
        typer.Option(metavar="WORKSPACE:NUMBER:HASH", help="An entry as it was once shown; may be repeated."),
    ] = None,
    json: Json = False,
) -> None:
    """Check that no entry was changed, added or taken out; ends with 1 when one was."""
    from api.commands.audit import run_verify  # noqa: PLC0415

    run_verify(quiet(settings()), source, known or [], as_json=json)
