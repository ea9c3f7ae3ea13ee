"""The verbs of `longleaf eval`: their arguments; what each does is in `api/commands/`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.options import Json, Model, TopK, quiet, settings

eval_app = typer.Typer(help="Measure on your own documents and questions.", no_args_is_help=True)

Source = Annotated[
    Path, typer.Argument(metavar="SET", help="Questions file, or folder with one beside its docs/.")
]
Docs = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Documents to read into a temporary store.")
]
Existing = Annotated[
    str | None, typer.Option("--collection", "-c", metavar="NAME", help="Collection to ask instead.")
]
Report = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write an HTML page that needs no network.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Ask so many questions, chosen by a fixed order.")]
Language = Annotated[
    str | None, typer.Option(metavar="CODE", help="Ask the questions of this language alone.")
]
Mode = Annotated[str | None, typer.Option(metavar="auto|quotes|answer", help="How questions are answered.")]


@eval_app.command("run")
def run(  # noqa: PLR0917 (typer calls it by name)
    source: Source,
    docs: Docs = None,
    collection: Existing = None,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Write the run here; goes on where it was interrupted.")
    ] = None,
    report: Report = None,
    limit: Limit = None,
    language: Language = None,
    mode: Mode = None,
    model: Model = None,
    top_k: TopK = 20,
    budget: Annotated[
        int | None, typer.Option(min=64, help="Most tokens of documents that are read for an answer.")
    ] = None,
    fail_under: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=VALUE", help="End with 1 when it is less.")
    ] = None,
    fail_over: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=VALUE", help="End with 1 when it is more.")
    ] = None,
    json: Json = False,
) -> None:
    """Ask questions with known answers and say how good search, quotes, answers and refusals are."""
    from api.commands import eval as command  # noqa: PLC0415

    found = quiet(settings(model=model, answer_mode=mode))
    asking = command.Asking(source, docs, collection, limit, language, top_k, budget)
    command.run(found, asking, out, report, fail_under or [], fail_over or [], as_json=json)


@eval_app.command("compare")
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Run file.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Run file to hold against it.")],
    report: Report = None,
    common: Annotated[
        bool, typer.Option("--common", help="Compare the questions that both runs asked, where they differ.")
    ] = False,
    json: Json = False,
) -> None:
    """Say what changed from run A to run B, and how likely that is by luck alone."""
    from api.commands.eval_compare import run as hold  # noqa: PLC0415

    quiet(settings())
    hold(first, second, report, common=common, as_json=json)


@eval_app.command("sweep")
def sweep(  # noqa: PLR0917 (typer calls it by name)
    source: Source,
    docs: Docs = None,
    collection: Existing = None,
    budgets: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Tokens to try; 1024, 2048 … the window if not given.")
    ] = None,
    metric: Annotated[str, typer.Option(metavar="METRIC", help="What is to be good.")] = "auto",
    apply: Annotated[
        bool, typer.Option("--apply", help="Set the collection's budget to the choice.")
    ] = False,
    report: Report = None,
    limit: Limit = None,
    language: Language = None,
    mode: Mode = None,
    model: Model = None,
    top_k: TopK = 20,
    json: Json = False,
) -> None:
    """Find out how many tokens of documents an answer should read: quality and time at each budget."""
    from api.commands.eval import Asking  # noqa: PLC0415
    from api.commands.eval_sweep import run as try_budgets  # noqa: PLC0415

    found = quiet(settings(model=model, answer_mode=mode))
    asking = Asking(source, docs, collection, limit, language, top_k, None)
    try_budgets(found, asking, budgets, metric, report, apply=apply, as_json=json)


@eval_app.command("make")
def make(  # noqa: PLR0917 (typer calls it by name)
    out: Annotated[Path, typer.Argument(metavar="QUESTIONS", help="JSON Lines file to add questions to.")],
    docs: Docs = None,
    collection: Existing = None,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=10_000, help="Questions to propose.")
    ] = 20,
    yes: Annotated[
        int | None,
        typer.Option("--yes", min=1, metavar="N", help="Keep N without asking, marked as not accepted."),
    ] = None,
    by: Annotated[str, typer.Option(metavar="auto|model|rule", help="Who writes the questions.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Chooses the passages.")] = 0,
    model: Model = None,
) -> None:
    """Propose questions from your own documents, for you to accept, edit or reject."""
    from api.commands.eval_make import run as propose  # noqa: PLC0415

    propose(quiet(settings(model=model)), out, docs, collection, yes or count, by, seed, ask=yes is None)


@eval_app.command("feedback")
def feedback(
    out: Annotated[Path, typer.Argument(metavar="QUESTIONS", help="JSON Lines file to add questions to.")],
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", metavar="NAME", help="Collection that was asked.")
    ] = None,
) -> None:
    """Take the questions that people said were answered, or refused, rightly."""
    from api.commands.eval_feedback import run as take  # noqa: PLC0415

    take(quiet(settings()), out, collection)
