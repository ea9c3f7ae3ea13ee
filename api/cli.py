"""The command `longleaf`: arguments, exit codes and messages; what each verb does is in `api/commands/`.

Exit codes: 0 done, 1 the work failed, 2 it was called wrongly, 130 interrupted, 141 the reader went away.
"""

from __future__ import annotations

import logging
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from api.cli_audit import audit_app
from api.cli_distil import distil_app
from api.cli_documents import documents_app
from api.cli_eval import eval_app
from api.cli_people import keys_app, users_app, workspaces_app
from api.cli_shards import shards_app
from api.options import Collection, Json, Model, Results, TopK, given, quiet, settings
from api.terminal import BROKEN_PIPE, FAILURE, INTERRUPTED, SUCCESS, USAGE, say, warn

app = typer.Typer(
    name="longleaf",
    help="Reads your documents and answers questions about them with quotes that can be checked.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(eval_app, name="eval")
app.add_typer(documents_app)
app.add_typer(distil_app)
app.add_typer(audit_app, name="audit")
app.add_typer(keys_app, name="keys")
app.add_typer(shards_app, name="shards")
app.add_typer(users_app, name="users")
app.add_typer(workspaces_app, name="workspaces")


class Kind(StrEnum):
    """8-bit formats that `quantize` writes."""

    fp8 = "fp8"
    int8 = "int8"


_USAGE_ERROR = typer.BadParameter.__mro__[1]  # its base has no public name: it is click's, or typer's copy


def _version(wanted: bool) -> None:
    if wanted:
        from api.version import version  # noqa: PLC0415

        say(f"longleaf {version()}")
        raise typer.Exit


@app.callback()
def common(
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of database, files and indexes.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log what happens; show tracebacks.")
    ] = False,
    version: Annotated[  # noqa: ARG001 (its callback prints it)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the verb hold for all of them; every setting is also a variable LONGLEAF_*."""
    given.clear()
    if data_dir is not None:
        given["data_dir"] = data_dir
    given["verbose"] = verbose


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind to.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = None,
    model: Model = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run on the Ray cluster there; `auto`: on this one.")
    ] = None,
) -> None:
    """Serve the page and the HTTP API until interrupted."""
    from api.commands.serve import run  # noqa: PLC0415

    run(settings(host=host, port=port, model=model, cluster=cluster))


@app.command()
def worker(
    host: Annotated[str | None, typer.Option(help="Address of its health and metrics.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Their port; 0 takes a free one.")] = 8001,
) -> None:
    """Read documents that servers on the same store take in, until interrupted."""
    from api.commands.worker import run  # noqa: PLC0415

    run(settings(host=host, port=port))


@app.command()
def mcp(model: Model = None) -> None:
    """Serve the documents to an assistant that speaks MCP, over standard input and output."""
    from api.commands.mcp import run  # noqa: PLC0415

    run(quiet(settings(model=model)))


@app.command()
def ingest(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH…", help="Files, and folders with all in them.")
    ],
    collection: Collection = "default",
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Read on the Ray cluster at HOST:PORT, or `auto` for this machine's."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Read documents into a collection; those that it holds already are skipped."""
    from api.commands.ingest import run  # noqa: PLC0415

    run(quiet(settings()), paths, collection, as_json=json, cluster=cluster)


@app.command()
def ask(  # noqa: PLR0917 (typer calls it by name)
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[FILE…] QUESTION", help="The question is last; files before it are read alone."
        ),
    ],
    collection: Collection = "default",
    model: Model = None,
    top_k: TopK = 20,
    max_tokens: Annotated[int | None, typer.Option(min=1, max=8192, help="Longest answer in tokens.")] = None,
    mode: Annotated[
        str | None,
        typer.Option(metavar="auto|quotes|answer", help="Quotes alone, or a written answer as well."),
    ] = None,
    json: Json = False,
) -> None:
    """Answer a question; needs no server.

    With files, they are read into a temporary store that is gone afterwards; without, the data folder's
    documents are asked.
    """
    from api.commands.ask import run  # noqa: PLC0415

    found = quiet(settings(model=model, max_tokens=max_tokens, answer_mode=mode))
    run(found, [Path(name) for name in arguments[:-1]], arguments[-1], collection, top_k, as_json=json)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="Words or a question.")],
    collection: Collection = "default",
    top_k: Results = 10,
    json: Json = False,
) -> None:
    """Show the passages that fit a query."""
    from api.commands.search import run  # noqa: PLC0415

    run(quiet(settings()), query, collection, top_k, as_json=json)


@app.command()
def status(json: Json = False) -> None:
    """Show documents, models, the device and number format chosen, disk use and schema."""
    from api.commands.status import run  # noqa: PLC0415

    run(quiet(settings()), as_json=json)


@app.command()
def doctor(
    backup: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Look at this backup as well: its age, whose it is.")
    ] = None,
    json: Json = False,
) -> None:
    """Look for what usually goes wrong with an installation, and say the remedy; ends with 1 on a failure."""
    from api.commands.doctor import run  # noqa: PLC0415

    run(quiet(settings()), backup=backup, as_json=json)


models_app = typer.Typer(invoke_without_command=True)
app.add_typer(models_app, name="models")
Name = Annotated[str, typer.Argument(metavar="NAME")]


@models_app.callback()
def models(context: typer.Context, json: Json = False) -> None:
    """List the models on this machine, with sizes and paths; fetch one, plan for one."""
    if context.invoked_subcommand is None:
        from api.commands.models import run  # noqa: PLC0415

        run(quiet(settings()), as_json=json)


@models_app.command("pull")
def models_pull(name: Name, json: Json = False) -> None:
    """Fetch a model from the hub into the local cache, by its id `owner/model[@revision]`."""
    from api.commands.models import run_pull  # noqa: PLC0415

    quiet(settings())
    run_pull(name, as_json=json)


@models_app.command("plan")
def models_plan(  # noqa: PLR0917 (typer calls it by name)
    name: Name,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs that each layer is split over.")] = 1,
    stages: Annotated[int, typer.Option(min=1, help="Such groups that share the layers.")] = 1,
    gpu_memory: Annotated[str, typer.Option(metavar="GB", help="Memory of each: 80, 80GB or 80GiB.")] = "80",
    context: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a sequence; the model's window if not given.")
    ] = None,
    sequences: Annotated[int, typer.Option(min=1, help="Sequences of that length at a time.")] = 1,
    dtype: Annotated[
        str | None, typer.Option(metavar="bf16|fp8|int8", help="Weights; as stored if not given.")
    ] = None,
    kv: Annotated[str, typer.Option(metavar="bf16|fp8|int8", help="Keys and values.")] = "bf16",
    json: Json = False,
) -> None:
    """Work out what a model needs on each GPU, and what fits; ends with 1 when it does not."""
    from api.commands.models import run_plan  # noqa: PLC0415

    quiet(settings())
    run_plan(
        name,
        gpus=gpus,
        stages=stages,
        gpu_memory=gpu_memory,
        context=context,
        sequences=sequences,
        dtype=dtype,
        kv=kv,
        as_json=json,
    )


@app.command()
def quantize(
    source: Annotated[str, typer.Argument(help="Folder, GGUF file, hub id or `auto`.")],
    target: Annotated[Path, typer.Argument(help="Folder to write; it must not exist.")],
    kind: Annotated[Kind, typer.Option("--format", help="fp8 as in Llama-3.1-405B-FP8, or int8.")] = Kind.fp8,
    json: Json = False,
) -> None:
    """Write a model with 8-bit weights, which `--model` reads."""
    from api.commands.quantize import run  # noqa: PLC0415

    quiet(settings())
    run(source, target, kind.value, as_json=json)


@app.command()
def migrate(json: Json = False) -> None:
    """Bring the database's schema to the one that this version needs."""
    from api.commands.migrate import run  # noqa: PLC0415

    run(quiet(settings()), as_json=json)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(_run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: list[str]) -> int:
    try:
        code = app(arguments or ["--help"], prog_name="longleaf", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except (SystemExit, BrokenPipeError) as ended:
        return _left(ended)
    except Exception as error:
        if isinstance(error, _USAGE_ERROR):
            message = error.format_message()  # type: ignore[attr-defined]
            warn(f"{message} (longleaf --help tells more)")
            return USAGE
        if logging.getLogger("api").isEnabledFor(logging.DEBUG):
            raise
        if type(error).__name__ == "ValidationError":  # of pydantic, which is not imported for --help
            for entry in error.errors():  # type: ignore[attr-defined]
                name, message = ".".join(map(str, entry["loc"])), entry["msg"].removeprefix("Value error, ")
                warn(f"{name} is {str(entry['input'])[:80]!r}: {message}")
            return USAGE
        warn(_message(error))
        return FAILURE
    return code if isinstance(code, int) else SUCCESS


def _left(ended: SystemExit | BrokenPipeError) -> int:
    """The exit code where the work ended early, mostly because nobody reads the output any more."""
    if isinstance(ended, BrokenPipeError):
        # what is still buffered would be written, and fail again, at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    # click ends with 1 for a pipe without a reader, after it has made stdout harmless
    return BROKEN_PIPE if type(sys.stdout).__name__ == "PacifyFlushWrapper" else int(ended.code or 0)


def _message(error: Exception) -> str:
    detail = getattr(error, "detail", None)  # LongleafError has it
    if isinstance(detail, str):
        return detail
    if type(error).__module__.startswith("model.") or isinstance(error, OSError):
        return str(error)
    return f"{type(error).__name__}: {error} (LONGLEAF_LOG_LEVEL=debug shows where)"
