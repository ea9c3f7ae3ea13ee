"""`longleaf distil`: a small model taught on a user's own documents, and judged on others of them."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from api.commands.distil_session import Part, Wanted, parts
from api.commands.distil_training import train
from api.commands.distil_trial import trial
from api.commands.eval import progress
from api.loaders import load_engine
from api.terminal import FAILURE, USAGE, fail, say, say_json, warn
from model.weights.files import json_object
from model.weights.hub import resolve
from rag.answer import AnswerRequest
from rag.distil import teachers
from rag.distil.card import Origin, card, name_of, origin
from rag.distil.lessons import Lesson, LessonFile, Teacher, lessons
from rag.distil.reading import Reader
from rag.distil.verdict import Verdict, write
from rag.evaluation.library import Library
from rag.retrieval import SearchScope
from rag.settings import Settings

HELD_OUT_LESSONS = 40
"""Questions of held-out documents whose loss is followed while a model is trained."""


def run(settings: Settings, wanted: Wanted, *, as_json: bool) -> None:
    """Do what is left to do: read, teach, train, judge, write. Ends with 1 where the student is not better,
    with 2 for input that can't be taken."""
    if wanted.out.exists():
        fail(f"{wanted.out} exists: name a folder that does not", USAGE)
    if not wanted.out.absolute().parent.is_dir():
        fail(f"{wanted.out}: there is no folder {wanted.out.absolute().parent}", USAGE)
    work = wanted.out.absolute().parent / f".{wanted.out.name}.distil"
    work.mkdir(exist_ok=True)
    _same(work, wanted)
    own = settings.model_copy(update={"model": wanted.student, "answer_mode": "answer"})
    found = parts(own, wanted, work)
    learn, judged_by = sum(len(each.learn) for each in found), sum(len(each.judge) for each in found)
    say(f"{learn} questions on {_documents(found, judged=False)} documents to teach on, {judged_by} on "
        f"{_documents(found, judged=True)} to judge by")  # fmt: skip
    taught, held = _lessons(own, wanted, found, work)
    student = origin(_name(wanted.student), resolve(wanted.student))
    origins = [student, *([teacher] if (teacher := _teacher_origin(wanted)) is not None else [])]
    name = name_of(wanted.name, origins)
    model = work / "model"
    train(own, wanted, taught, held, work, model, name)
    judged = trial(own, wanted, found, work, model, base=student.name)
    facts = [
        ("lessons", f"{len(taught)}, of which {sum(each.kind == 'refusal' for each in taught)} refusals"),
        ("documents taught", str(_documents(found, judged=False))),
        (
            "adapters",
            "none: the whole model" if wanted.plan.lora is None else f"rank {wanted.plan.lora.rank}",
        ),
        ("epochs", str(wanted.plan.epochs)),
        ("seed", str(wanted.seed)),
    ]
    text = card(name, student, teacher, facts, judged)
    (model / "README.md").write_text(text, "utf-8")
    write(model, judged)
    model.replace(wanted.out)
    shutil.rmtree(work)
    _show(judged, wanted.out, as_json=as_json)


def _same(work: Path, wanted: Wanted) -> None:
    """End with 2 where the work folder is of other wishes: what it holds would not fit."""
    said = json.loads(json.dumps(asdict(wanted), default=str))
    path = work / "wanted.json"
    known = json_object(path)
    if known and known != said:
        differ = ", ".join(sorted(name for name in said if known.get(name) != said[name]))
        fail(
            f"{work} is left of a run with another {differ}: give the same options to go on, or remove it",
            USAGE,
        )
    path.write_text(json.dumps(said, indent=1) + "\n", "utf-8")


def _documents(found: Sequence[Part], *, judged: bool) -> int:
    sides = (each.judge if judged else each.learn for each in found)
    return len({question.cluster for side in sides for question in side})


def _lessons(
    settings: Settings, wanted: Wanted, found: Sequence[Part], work: Path
) -> tuple[list[Lesson], list[Lesson]]:
    """What is taught, and the lessons on held-out documents whose loss is followed."""
    sides: list[list[Lesson]] = []
    for judged in (False, True):
        made: list[Lesson] = []
        for part in found:
            questions = part.judge[: HELD_OUT_LESSONS // len(found)] if judged else part.learn
            if not questions:
                continue
            side = "held" if judged else "lessons"
            file = LessonFile(work / f"{part.name}-{side}.jsonl", f"{wanted.student} {wanted.teacher}")
            if all(f"{part.name} {each.id}" in file.made for each in questions):
                made += [each for each in file.made.values() if each is not None]
                continue
            with part.store(settings, work, judged=judged) as store, _teacher(settings, wanted) as teach:
                request = AnswerRequest(
                    "?", SearchScope(store.service.scope.workspace_id, store.collection.id)
                )
                reader = Reader(store.service.answerer.wait(), request)
                with progress(f"{part.name}: {side}", len(questions), 0) as step:
                    teacher = teach(store.library)
                    for lesson in lessons(questions, reader, teacher, file, f"{part.name} "):
                        made += [lesson] if lesson is not None else []
                        step()
        sides.append(made)
    taught = balanced(sides[0], wanted.refusals, wanted.seed)
    if not any(each.kind == "answer" for each in taught):
        fail("no question could be taught with its answer: no quote held the answer that is known", FAILURE)
    return taught, sides[1]


def balanced(made: Sequence[Lesson], refusals: float, seed: int) -> list[Lesson]:
    """The lessons with so many refusals left out that they are at most that share of all: who is taught to
    tell them from answers shall not take them for the rule."""
    answers = [each for each in made if each.kind == "answer"]
    others = [each for each in made if each.kind == "refusal"]
    most = round(len(answers) * refusals / (1 - refusals))
    chosen = random.Random(seed).sample(others, min(most, len(others)))
    return sorted([*answers, *chosen], key=lambda each: each.id)


@contextmanager
def _teacher(settings: Settings, wanted: Wanted) -> Iterator[Callable[[Library], Teacher]]:
    if wanted.teacher_url is not None:
        import httpx  # noqa: PLC0415

        key = settings.teacher_key.get_secret_value()
        warn(f"passages of the documents and the questions are sent to {wanted.teacher_url}")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with httpx.Client(headers=headers, timeout=120) as client:
            ask = teachers.by_endpoint(client, wanted.teacher_url, wanted.teacher_model or "")
            yield lambda _: teachers.written(ask)
    elif wanted.teacher is not None:
        engine = load_engine(
            settings.model_copy(update={"model": wanted.teacher, "kv_disk_bytes": 0, "kv_shared_bytes": 0})
        )
        try:
            if engine.chat_format is None:
                fail(f"--teacher {wanted.teacher}: {engine.name} has no chat format that is known", USAGE)
            yield lambda _: teachers.written(teachers.by_engine(engine))
        finally:
            engine.close()
    else:
        yield teachers.gold


def _teacher_origin(wanted: Wanted) -> Origin | None:
    if wanted.teacher_url is not None:
        return origin(wanted.teacher_model or wanted.teacher_url)
    if wanted.teacher is not None:
        return origin(_name(wanted.teacher), resolve(wanted.teacher))
    return None


def _name(model: str) -> str:
    """A model's own name."""
    from model.weights.checkpoint import open_checkpoint  # noqa: PLC0415

    return open_checkpoint(resolve(model)).name


def _show(judged: Verdict, out: Path, *, as_json: bool) -> None:
    if as_json:
        say_json({"model": str(out), **judged.as_dict()})
    else:
        say()
        say(f"{'metric':<12}{'n':>6}{'before':>9}{'after':>9}{'change':>9}   95 % interval")
        for each in judged.changes:
            say(
                f"{each.metric:<12}{each.questions:>6}{each.first:>9.3f}{each.second:>9.3f}"
                f"{each.difference:>+9.3f}   {each.low:+.3f} to {each.high:+.3f}"
            )
        say()
        say(f"{'Better' if judged.better else 'Not better'}: {judged.reason}")
        say(f"{out} holds the model, its card and the two runs; use it by LONGLEAF_MODEL={out}"
            if judged.better else f"{out} is not loaded unless LONGLEAF_ALLOW_WORSE_MODEL=true")  # fmt: skip
    if not judged.better:
        raise SystemExit(FAILURE)
