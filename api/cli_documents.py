"""The verbs that keep and change a store of documents; what each does is in `api/commands/`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.options import Collection, Json, quiet, settings
from api.terminal import USAGE, fail

documents_app = typer.Typer()

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


@documents_app.command()
def sync(  # noqa: PLR0917 (typer calls it by name)
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder whose files are mirrored.")],
    collection: Collection = "default",
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and follow what changes.")] = False,
    dry_run: DryRun = False,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What the store knows the folder by; its path if not given."),
    ] = None,
    checksum: Annotated[
        bool, typer.Option("--checksum", help="Compare the bytes of every file, not size and time.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try again what could not be read before.")] = False,
    read: Annotated[
        bool, typer.Option("--read/--no-read", help="Read documents here, or leave that to a service.")
    ] = True,
    delete_all: Annotated[
        bool, typer.Option("--delete-all", help="Delete the documents of files that are all gone.")
    ] = False,
    json: Json = False,
) -> None:
    """Mirror a folder into a collection: new, changed, moved and deleted files, and nothing else."""
    from api.commands import sync as once  # noqa: PLC0415

    if watch and dry_run:
        fail("--watch and --dry-run exclude each other", USAGE)
    options = once.Options(
        name=name, checksum=checksum, retry=retry, read=read, delete_all=delete_all, as_json=json
    )
    found = quiet(settings())
    if watch:
        from api.commands import sync_watch  # noqa: PLC0415

        sync_watch.run(found, folder, collection, options)
    elif dry_run:
        once.dry_run(found, folder, collection, options)
    else:
        once.run(found, folder, collection, options)


@documents_app.command()
def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Empty folder, or one with a backup.")],
    link: Annotated[
        bool, typer.Option("--link", help="Hard-link original files instead of copying them.")
    ] = False,
    json: Json = False,
) -> None:
    """Back the store up while it works; into a folder with a backup only what has changed."""
    from api.commands.backup import run  # noqa: PLC0415

    run(quiet(settings()), folder, link=link, as_json=json)


@documents_app.command()
def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with a backup.")],
    json: Json = False,
) -> None:
    """Make an empty store what a backup says, on either kind of database."""
    from api.commands.restore import run  # noqa: PLC0415

    run(quiet(settings()), folder, as_json=json)


@documents_app.command("export")
def export_(
    target: Annotated[Path, typer.Argument(metavar="DIR|FILE.tar", help="Empty folder, or new archive.")],
    json: Json = False,
) -> None:
    """Write the whole store in the portable form, to move it to another database or machine."""
    from api.commands.move import run_export  # noqa: PLC0415

    run_export(quiet(settings()), target, as_json=json)


@documents_app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="DIR|FILE.tar", help="What `export` has written.")],
    json: Json = False,
) -> None:
    """Fill an empty store with what `export` has written."""
    from api.commands.move import run_import  # noqa: PLC0415

    run_import(quiet(settings()), source, as_json=json)


@documents_app.command()
def verify(
    repair: Annotated[bool, typer.Option("--repair", help="Derive again what can be derived.")] = False,
    backup: Annotated[
        Path | None, typer.Option("--backup", metavar="DIR", help="Check the files of a backup instead.")
    ] = None,
    json: Json = False,
) -> None:
    """Check files, text, chunks, vectors, jobs, answers and indexes; ends with 1 when something is wrong."""
    from api.commands.verify import run  # noqa: PLC0415

    run(quiet(settings()), repair=repair, backup=backup, as_json=json)


@documents_app.command()
def gc(
    dry_run: DryRun = False,
    answers_older_than: Annotated[
        int | None, typer.Option(min=1, metavar="DAYS", help="Remove stored answers of that age as well.")
    ] = None,
    json: Json = False,
) -> None:
    """Remove files and rows that nothing leads to any more."""
    from api.commands.gc import run  # noqa: PLC0415

    run(quiet(settings()), dry_run=dry_run, answers_older_than=answers_older_than, as_json=json)


@documents_app.command()
def reembed(
    embedder: Annotated[
        str, typer.Option(metavar="MODEL", help="Folder, hub id in the local cache, or `auto`.")
    ] = "",
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", metavar="NAME", help="This one; all if not given.")
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Give up what was begun.")] = False,
    json: Json = False,
) -> None:
    """Give collections the vectors of another embedder; until all are there the old ones are searched."""
    from api.commands.reembed import run  # noqa: PLC0415

    found = settings(embedder=embedder or None)
    run(quiet(found), collection, named=bool(embedder), cancel=cancel, as_json=json)
