"""The training of `longleaf distil`: from lessons to a model's folder, with a curve on the way."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from api.commands.distil_session import Wanted
from api.terminal import say, warn
from model.text.tokenizer import Tokenizer
from model.training import Example, Trainer, open_network, write_folder
from rag.checking import NO, YES
from rag.distil.curves import Curve, Point, curve_page
from rag.distil.lessons import Lesson
from rag.settings import Settings

DECIDING, BESIDE = 4.0, 0.3
"""What the yes or no counts for beside a token of an answer that is written, and what follows the yes: it
shows where the answer stands, which helps to tell."""
MEASURED = 8
"""Times that the loss on held-out documents is measured in a run."""


def train(  # noqa: PLR0917 (called by one program alone)
    settings: Settings,
    wanted: Wanted,
    taught: Sequence[Lesson],
    held: Sequence[Lesson],
    work: Path,
    model: Path,
    name: str,
) -> None:
    """Train the student and write it to the folder `model`; at once where that was done before."""
    if model.is_dir():
        return
    network, checkpoint, source = open_network(
        wanted.student,
        lora=wanted.plan.lora,
        device=settings.device,
        dtype=settings.dtype,
        seed=wanted.seed,
    )
    tokenizer = checkpoint.tokenizer()
    aside = examples(held, tokenizer)
    learned = [*examples(taught, tokenizer), *checks(taught, tokenizer)]
    trainer = Trainer(network, learned, wanted.plan, work, model=checkpoint.fingerprint())
    if trainer.step:
        warn(f"going on after step {trainer.step} of {trainer.steps}")
    curve = Curve(work / "training.jsonl", trainer.step)
    if not curve.points:
        curve.add(Point(0, None, trainer.held_out(aside), 0.0, 0.0))
    every = max(1, trainer.steps // MEASURED)
    for at in trainer.run():
        measured = at.step % every == 0 or at.step == at.steps
        aside_loss = trainer.held_out(aside) if measured else None
        curve.add(Point(at.step, at.loss, aside_loss, at.rate, at.seconds))
        if aside_loss is not None:
            say(f"step {at.step} of {at.steps}: loss {at.loss:.3f}, on held-out documents {aside_loss:.3f}, "
                f"{at.seconds:.0f} s")  # fmt: skip
    draft = work / "model.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    write_folder(network, checkpoint, source, draft, name)
    shutil.copyfile(work / "training.jsonl", draft / "training.jsonl")
    about = [
        ("student", checkpoint.name),
        ("lessons", str(len(taught))),
        ("steps", str(trainer.steps)),
        ("plan", str(wanted.plan.as_dict())),
    ]
    (draft / "training.html").write_text(curve_page(f"Training of {name}", curve.points, about), "utf-8")
    draft.replace(model)


def examples(lessons: Sequence[Lesson], tokenizer: Tokenizer) -> list[Example]:
    """What is to be written, in token ids; the answer ends the turn. A refusal is not written: whether to
    refuse is what `checks` teach."""
    end = _end_of_turn(tokenizer)
    return [
        Example(each.prompt, (*tokenizer.encode(each.answer), end))
        for each in lessons
        if each.kind == "answer"
    ]


def checks(lessons: Sequence[Lesson], tokenizer: Tokenizer) -> list[Example]:
    """Whether a quote says what is asked: yes and the answer, or no."""
    end = _end_of_turn(tokenizer)
    found = []
    for each in lessons:
        said = (f"{YES}: {each.holds}" if each.holds else YES) if each.kind == "answer" else NO
        answer = (*tokenizer.encode(said), end)
        found.append(Example(each.check, answer, weight=BESIDE, first=DECIDING / BESIDE))
    return found


def _end_of_turn(tokenizer: Tokenizer) -> int:
    for name in ("<|eot_id|>", "<|im_end|>"):
        if name in tokenizer.control:
            return tokenizer.control[name]
    return min(tokenizer.stop_ids)
