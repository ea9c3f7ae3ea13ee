"""The verb `longleaf distil`: its arguments; what it does is in `api/commands/distil.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.options import Json, quiet, settings
from api.terminal import USAGE, fail

distil_app = typer.Typer()


@distil_app.command("distil")
def distil(  # noqa: PLR0917 (typer calls it by name)
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the model to be; it must not exist.")],
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[SET…]", help="Questions files, or folders with one beside its docs/."),
    ] = None,
    docs: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The documents; without SET, questions are proposed from them."),
    ] = None,
    student: Annotated[
        str,
        typer.Option(metavar="MODEL", help="Folder, GGUF file, hub id or `auto`: the model to be taught."),
    ] = "auto",
    name: Annotated[str, typer.Option(help="Name of the model to be.")] = "longleaf-reader",
    teacher: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A larger model that answers; else the questions' own answers."),
    ] = None,
    teacher_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="An OpenAI-style endpoint that answers: it is SENT the passages."),
    ] = None,
    teacher_model: Annotated[str | None, typer.Option(metavar="NAME", help="The model there.")] = None,
    held_out: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Share of the documents that are kept to judge by.")
    ] = 0.3,
    lessons: Annotated[int, typer.Option(min=1, help="Most questions to teach on.")] = 2000,
    judged: Annotated[int, typer.Option(min=1, help="Most questions to judge by.")] = 200,
    refusals: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Most of the lessons that may be refusals, as a share.")
    ] = 0.5,
    proposed: Annotated[int, typer.Option(min=2, help="Questions to propose where no SET is given.")] = 500,
    epochs: Annotated[int, typer.Option(min=1, help="Times that every lesson is seen.")] = 1,
    rank: Annotated[
        int, typer.Option(min=0, max=512, help="Of the adapters; 0 trains the whole model.")
    ] = 16,
    rate: Annotated[float, typer.Option(min=0.0, help="Learning rate; 0 for the usual one.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the split, the order and the adapters.")] = 0,
    json: Json = False,
) -> None:
    """Teach a small model on your own documents, and keep it only for use where it is better on others.

    The same command goes on where it was interrupted. Ends with 1 where the model is not better.
    """
    if teacher is not None and teacher_url is not None:
        fail("--teacher and --teacher-url exclude each other: one of them teaches", USAGE)
    if (teacher_url is None) != (teacher_model is None):
        fail("--teacher-url and --teacher-model go together: which model is to be asked, and where", USAGE)
    from api.commands.distil import run  # noqa: PLC0415
    from api.commands.distil_session import Wanted  # noqa: PLC0415
    from model.training import Batching, LoRA, Plan  # noqa: PLC0415

    lora = LoRA(rank, 2.0 * rank) if rank else None
    plan = Plan(lora=lora, epochs=epochs, rate=rate, batching=Batching(tokens=1024, passes=2, seed=seed))
    wanted = Wanted(
        tuple(sources or ()), docs, out, name, student, teacher, teacher_url, teacher_model, held_out,
        lessons, judged, refusals, proposed, seed, plan,
    )  # fmt: skip
    run(quiet(settings()), wanted, as_json=json)
