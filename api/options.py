"""Options that the verbs of the command share, and the settings that they make together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.terminal import USAGE, warn

if TYPE_CHECKING:
    from rag.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Collection = Annotated[
    str, typer.Option("--collection", "-c", metavar="NAME", help="Collection of documents.")
]
Model = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Folder, GGUF file, hub id or `auto`: the model that writes."),
]
TopK = Annotated[int, typer.Option("--top-k", min=1, max=200, help="Most chunks that are considered.")]
Results = Annotated[int, typer.Option("--top-k", "-n", min=1, max=100, help="Most results.")]

given: dict[str, Any] = {}
"""Options before the verb."""


def settings(**more: object) -> Settings:
    """The settings of this call: environment, `.env`, then options. Ends with 2 for a value that is wrong."""
    from pydantic import ValidationError  # noqa: PLC0415

    from rag.settings import Settings  # noqa: PLC0415

    options = given | {name: value for name, value in more.items() if value is not None}
    verbose = options.pop("verbose", False)
    try:
        found = Settings(**options)
    except ValidationError as error:
        for entry in error.errors():
            name = f"LONGLEAF_{'_'.join(str(part) for part in entry['loc']).upper()}"
            warn(f"{name} is {entry['input']!r}: {entry['msg']}")
        raise typer.Exit(USAGE) from None
    return found.model_copy(update={"log_level": "debug"}) if verbose else found


def quiet(found: Settings) -> Settings:
    """Let a command log warnings alone, unless more was asked for."""
    from api.logs import configure  # noqa: PLC0415

    asked = given.get("verbose") or found.log_level == "debug"
    configure("debug" if asked else "warning", found.log_format)
    return found
