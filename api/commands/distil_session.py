"""What `longleaf distil` works on: questions split by document, and stores of each side's documents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.commands.eval_make import proposals, proposer_for
from api.commands.eval_session import Session, documents_in
from api.commands.ingest import find_files
from api.terminal import USAGE, fail, warn
from model.training import Plan
from rag.distil.splitting import held_out, split
from rag.evaluation.questions import GoldQuestion, QuestionFileError, load_questions
from rag.settings import Settings


@dataclass(frozen=True)
class Wanted:
    """What is asked of the command.

    Attributes:
        sources: questions files, or folders with one; none proposes `proposed` questions from `docs`.
        docs: the documents' folder; None for those beside each source.
        out: the folder of the model to be.
        name: of the model.
        student, teacher: models; without a teacher the questions' own answers teach.
        teacher_url, teacher_model: an endpoint that teaches.
        held_out: share of the documents that are kept to judge by.
        lessons, judged: most questions of either side.
        refusals: most of the lessons that may be refusals, as a share: they teach when to say no.
    """

    sources: tuple[Path, ...]
    docs: Path | None
    out: Path
    name: str
    student: str
    teacher: str | None
    teacher_url: str | None
    teacher_model: str | None
    held_out: float
    lessons: int
    judged: int
    refusals: float
    proposed: int
    seed: int
    plan: Plan


@dataclass(frozen=True)
class Part:
    """One set: its questions and its files, either side by itself."""

    name: str
    learn: tuple[GoldQuestion, ...]
    judge: tuple[GoldQuestion, ...]
    files: tuple[Path, ...]
    share: float
    seed: int

    @contextmanager
    def store(self, settings: Settings, work: Path, *, judged: bool) -> Iterator[Session]:
        """The documents of one side, read once and kept in the work folder."""
        files = [each for each in self.files if held_out(each.name, self.share, self.seed) is judged]
        side = "judge" if judged else "learn"
        with documents_in(settings, work / f"{self.name}-{side}", files) as found:
            yield found


def parts(settings: Settings, wanted: Wanted, work: Path) -> list[Part]:
    """Every set with its questions split and cut to size; ends with 2 for what can't be taken.

    Raises InvalidRequest: `nothing_to_learn`, `nothing_to_judge`.
    """
    sources = wanted.sources or (_proposed(settings, wanted, work),)
    loaded: list[tuple[str, list[GoldQuestion], list[Path]]] = []
    for number, source in enumerate(sources, start=1):
        try:
            found = load_questions(source)
        except QuestionFileError as error:
            fail(error.detail, USAGE)
        folders = (wanted.docs,) if wanted.docs is not None else found.folders
        files, _ = find_files(folders) if folders else ([], [])
        if not files:
            fail(f"{source}: there are no documents beside it; say where they are by --docs FOLDER", USAGE)
        loaded.append((f"set{number}", list(found.questions), files))
    whose = {id(question): name for name, questions, _ in loaded for question in questions}
    every = [question for _, questions, _ in loaded for question in questions]
    learn, judge = split(every, wanted.held_out, wanted.seed)
    kept = [_few(learn, wanted.lessons, wanted.seed), _few(judge, wanted.judged, wanted.seed)]
    made = []
    for name, _, files in loaded:
        first, second = (tuple(each for each in side if whose[id(each)] == name) for side in kept)
        made.append(Part(name, first, second, tuple(files), wanted.held_out, wanted.seed))
    return made


def _few(questions: Sequence[GoldQuestion], most: int, seed: int) -> list[GoldQuestion]:
    """At most so many, by an order that has nothing to do with what they ask."""
    return sorted(questions, key=lambda each: hashlib.sha256(f"{seed} {each.id}".encode()).digest())[:most]


def _proposed(settings: Settings, wanted: Wanted, work: Path) -> Path:
    """A file of questions proposed from the documents, made once."""
    import json  # noqa: PLC0415

    if wanted.docs is None:
        fail(
            "name a questions file, or the documents by --docs FOLDER, of which questions are proposed", USAGE
        )
    path = work / "proposed.jsonl"
    if path.is_file():
        return path
    files, _ = find_files((wanted.docs,))
    if not files:
        fail(f"there is no file in {wanted.docs}", USAGE)
    draft = path.with_suffix(".tmp")
    with (
        documents_in(settings, work / "proposals", files) as found,
        draft.open("w", encoding="utf-8") as lines,
    ):
        made = 0
        for proposal in proposals(found, proposer_for(found, "auto", wanted.seed), wanted.seed, set()):
            lines.write(json.dumps(proposal.record(accepted=False), ensure_ascii=False) + "\n")
            made += 1
            if made == wanted.proposed:
                break
    if not made:
        fail("no question could be proposed from the documents: give a questions file")
    warn(f"{made} questions proposed; nobody has accepted them")
    draft.replace(path)
    return path
