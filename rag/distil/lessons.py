"""Lessons: questions as they are read beside what is to be written, kept in a file while they are made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rag.distil.reading import Reader, Reading
from rag.distil.targets import Kind, Target
from rag.evaluation.questions import GoldQuestion


@dataclass(frozen=True)
class Lesson:
    """One question.

    Attributes:
        document: that the question is about.
        prompt: token ids of the student's tokenizer.
        answer: what is to be written.
        check: token ids of the question whether a quote says what is asked: that of the answer, or of a
            refusal the likeliest one.
        holds: the answer in that quote.
    """

    id: str
    document: str
    question: str
    prompt: tuple[int, ...]
    answer: str
    kind: Kind
    check: tuple[int, ...]
    holds: str = ""


_FORMAT = 2
Teacher = Callable[[GoldQuestion, Reading], Target | None]
"""What is to be written for a question; None where it can't be told, or does not stand the check."""


class LessonFile:
    """Lessons that are made already; what is interrupted goes on behind them."""

    def __init__(self, path: Path, key: str) -> None:
        """`key` names everything that the lessons depend on; a file with another one, or of an earlier form,
        is begun anew."""
        head = {"format": _FORMAT, "key": key}
        self._path = path
        self.made: dict[str, Lesson | None] = {}
        if path.is_file():
            lines = path.read_text("utf-8").split("\n")
            if lines and _object(lines[0]) == head:
                for line in lines[1:]:
                    found = _object(line)
                    if "id" in found:
                        self.made[str(found["id"])] = _lesson(found)
        kept = [json.dumps(head), *(self._line(name, each) for name, each in self.made.items())]
        path.write_text("\n".join(kept) + "\n", "utf-8")

    @staticmethod
    def _line(name: str, lesson: Lesson | None) -> str:
        return json.dumps({"id": name} if lesson is None else asdict(lesson), ensure_ascii=False)

    def add(self, name: str, lesson: Lesson | None) -> None:
        """Keep what became of a question."""
        self.made[name] = lesson
        with self._path.open("a", encoding="utf-8") as file:
            file.write(self._line(name, lesson) + "\n")


def lessons(
    questions: Sequence[GoldQuestion], reader: Reader, teacher: Teacher, file: LessonFile, prefix: str = ""
) -> Iterator[Lesson | None]:
    """Read each question and have it taught; None for one of which nothing can be learnt."""
    for question in questions:
        name = f"{prefix}{question.id}"
        if name not in file.made:
            file.add(name, _of(question, name, reader, teacher))
        yield file.made[name]


def _of(question: GoldQuestion, name: str, reader: Reader, teacher: Teacher) -> Lesson | None:
    reading = reader.read(question.question)
    target = None if reading is None else teacher(question, reading)
    if reading is None or target is None:
        return None
    check = reading.checks[target.citation - 1]
    return Lesson(
        name,
        question.cluster,
        question.question,
        reading.prompt,
        target.text,
        target.kind,
        check,
        target.holds,
    )


def _object(line: str) -> dict[str, object]:
    try:
        value = json.loads(line)
    except ValueError:  # the line that a kill cut short
        return {}
    return value if isinstance(value, dict) else {}


def _lesson(found: dict[str, object]) -> Lesson | None:
    if "prompt" not in found:
        return None
    prompt, check = found.pop("prompt"), found.pop("check")
    assert isinstance(prompt, list)  # noqa: S101 (this class wrote it)
    assert isinstance(check, list)  # noqa: S101
    return Lesson(prompt=tuple(prompt), check=tuple(check), **found)  # type: ignore[arg-type]
