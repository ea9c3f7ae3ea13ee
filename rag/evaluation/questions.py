"""Questions with known answers: JSON Lines or CSV, alone or in a folder with their documents.

A line has `question`, and as far as they are known `id`, `answers`, `answerable`, `doc`, `evidence`,
`evidence_mode`, `language`; members of other names are left alone. A piece of evidence is a range of the
stored file (`doc`, `start`, `end`, in code points), a page (`doc`, `page`), a text that stands in it
(`doc`, `text`), or a whole document (`doc`).
"""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rag.errors import InvalidRequest

EvidenceMode = Literal["any", "all"]
FIELDS = ("id", "question", "answers", "answerable", "doc", "evidence", "evidence_mode", "language", "page")
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_NAMES = ("questions.jsonl", "questions.csv")
_DOCUMENTS = ("docs", "haystacks")


class QuestionFileError(InvalidRequest):
    """A questions file that can't be taken: the message names file, line, field and value."""

    default_code = "invalid_questions"


@dataclass(frozen=True)
class GoldEvidence:
    """A place that holds the answer. `start`/`end`: code points of the file; `page` counts from 1."""

    doc: str
    start: int | None = None
    end: int | None = None
    page: int | None = None
    text: str | None = None


@dataclass(frozen=True)
class GoldQuestion:
    """A question and what is known of its answer.

    `docs` are the documents that are needed; with `evidence_mode` `all` every piece of evidence is needed,
    else one of them is enough. `accepted` is False for a proposal that no person has looked at.
    """

    id: str
    question: str
    answers: tuple[str, ...] = ()
    answerable: bool = True
    docs: tuple[str, ...] = ()
    evidence: tuple[GoldEvidence, ...] = ()
    evidence_mode: EvidenceMode = "any"
    language: str | None = None
    accepted: bool = True

    @property
    def cluster(self) -> str:
        """What the question's outcome depends on beside itself: its (first) document."""
        return self.docs[0] if self.docs else self.evidence[0].doc if self.evidence else self.id


@dataclass(frozen=True)
class QuestionSet:
    """The questions of a file, and the folders that their documents may lie in."""

    path: Path
    questions: tuple[GoldQuestion, ...]
    folders: tuple[Path, ...] = field(default=())


def load_questions(path: Path) -> QuestionSet:
    """Read a questions file, or a folder that holds one beside `docs/` (or `haystacks/`).

    Raises QuestionFileError.
    """
    if path.is_dir():
        found = [path / name for name in _NAMES if (path / name).is_file()]
        if len(found) != 1:
            what = "both of" if found else "neither of"
            raise QuestionFileError(f"{path}: the folder has {what} {' and '.join(_NAMES)}; one is needed")
        folders = tuple(path / name for name in _DOCUMENTS if (path / name).is_dir())
        return QuestionSet(path, tuple(_checked(found[0])), folders)
    if not path.is_file():
        raise QuestionFileError(f"{path}: there is no such file or folder")
    return QuestionSet(path, tuple(_checked(path)))


def _checked(path: Path) -> list[GoldQuestion]:
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise QuestionFileError(f"{path}: the file is not UTF-8 (byte {error.start})") from None
    lines = _csv(path, content) if path.suffix.lower() in {".csv", ".tsv"} else _jsonl(path, content)
    questions: list[GoldQuestion] = []
    seen: dict[str, int] = {}
    for number, record in lines:
        question = _Line(path, number, record).question()
        if question.id in seen:
            before = seen[question.id]
            raise QuestionFileError(
                f"{path}, line {number}: field 'id' is {question.id!r}, which line {before} has too"
            )
        seen[question.id] = number
        questions.append(question)
    if not questions:
        raise QuestionFileError(f"{path}: the file holds no question")
    return questions


def _jsonl(path: Path, content: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    # JSON escapes every line break but these two
    for number, line in enumerate(content.replace("\r\n", "\n").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise QuestionFileError(f"{path}, line {number}: no JSON: {error}") from None
        if not isinstance(record, dict):
            raise QuestionFileError(f"{path}, line {number}: {line.strip()[:60]!r} is no JSON object")
        yield number, record


def _csv(path: Path, content: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    header = content.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    rows = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    number = 1
    try:
        names = [name.strip() for name in next(rows, [])]
        if "question" not in names:
            raise QuestionFileError(f"{path}, line 1: no column is named 'question', but {names}")
        number = rows.line_num + 1
        for cells in rows:
            if any(cell.strip() for cell in cells):
                if len(cells) > len(names):
                    raise QuestionFileError(
                        f"{path}, line {number}: {len(cells)} cells under {len(names)} columns; "
                        f"put a text with {delimiter!r} in it between quotation marks"
                    )
                yield number, _decoded(dict(zip(names, cells, strict=False)))
            number = rows.line_num + 1
    except csv.Error as error:
        raise QuestionFileError(f"{path}, line {number}: no CSV: {error}") from None


def _decoded(row: Mapping[str, str]) -> dict[str, Any]:
    """A row's cells as JSON would have them; empty cells are left out."""
    record: dict[str, Any] = {}
    for name, cell in row.items():
        text = cell.strip()
        if not text:
            continue
        record[name] = text
        if name in {"answers", "doc"}:
            parts = [part.strip() for part in text.split("|") if part.strip()]
            record[name] = parts if name == "answers" or len(parts) > 1 else text
        if name in {"answers", "doc", "evidence"} and text[0] in "[{":
            try:
                record[name] = json.loads(text)
            except ValueError:
                continue  # a text that begins with a bracket
        elif name in {"answerable", "accepted"}:
            record[name] = _WORDS.get(text.lower(), text)
        elif name == "page":
            record[name] = int(text) if text.isdecimal() else text
    return record


class _Line:
    """One record on its way to a question."""

    def __init__(self, path: Path, number: int, record: Mapping[str, Any]) -> None:
        self._path, self._number, self._record = path, number, record

    def question(self) -> GoldQuestion:
        self._misspelt()
        text = self._text("question", None)
        if text is None:
            raise self._error("question", None, "it is needed")
        docs = self._docs()
        evidence = tuple(self._evidence(docs))
        answerable = self._record.get("answerable", True)
        if not isinstance(answerable, bool):
            raise self._error("answerable", answerable, "take true or false")
        accepted = self._record.get("accepted", True)
        if not isinstance(accepted, bool):
            raise self._error("accepted", accepted, "take true or false")
        mode = self._record.get("evidence_mode", "any")
        if mode not in ("any", "all"):
            raise self._error("evidence_mode", mode, "take 'any' or 'all'")
        answers = self._strings("answers")
        if answers and not answerable:
            raise self._error("answers", list(answers), "a question that is not answerable has none")
        identifier = self._record.get("id", f"line-{self._number}")
        if isinstance(identifier, int) and not isinstance(identifier, bool):
            identifier = str(identifier)
        if not isinstance(identifier, str) or not identifier:
            raise self._error("id", identifier, "take a text")
        return GoldQuestion(
            identifier,
            text,
            answers,
            answerable,
            docs or tuple(dict.fromkeys(each.doc for each in evidence)),
            evidence,
            mode,
            self._text("language", None),
            accepted,
        )

    def _misspelt(self) -> None:
        for name in self._record:
            near = difflib.get_close_matches(str(name).lower(), FIELDS[:-1], 1, 0.85)
            if name not in FIELDS and near and near[0] not in self._record:
                raise self._error(str(name), self._record[name], f"is {near[0]!r} meant?")

    def _docs(self) -> tuple[str, ...]:
        value = self._record.get("doc", [])
        return self._strings("doc") if isinstance(value, list) else (self._text("doc", "") or "",)

    def _strings(self, name: str) -> tuple[str, ...]:
        value = self._record.get(name) or []
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list):  # some sets group the spellings of an answer
            values = [each for part in values for each in (part if isinstance(part, list) else [part])]
        if not isinstance(values, list) or not all(isinstance(each, str) and each.strip() for each in values):
            raise self._error(name, value, "take a list of texts, none of them empty")
        return tuple(values)

    def _text(self, name: str, default: str | None) -> str | None:
        value = self._record.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or not value.strip():
            raise self._error(name, value, "take a text that is not empty")
        return value

    def _evidence(self, docs: tuple[str, ...]) -> Iterator[GoldEvidence]:
        value = self._record.get("evidence") or []
        if isinstance(value, str | dict):
            value = [value]
        if not isinstance(value, list):
            raise self._error("evidence", value, "take a list of objects")
        for index, item in enumerate(value):
            yield self._piece(f"evidence[{index}]", {"text": item} if isinstance(item, str) else item, docs)
        page = self._record.get("page")
        if page is not None:
            yield self._piece("page", {"page": page}, docs)

    def _piece(self, where: str, item: Any, docs: tuple[str, ...]) -> GoldEvidence:
        if not isinstance(item, dict):
            raise self._error(where, item, "take an object with 'doc' and 'start', 'end', 'page' or 'text'")
        doc = item.get("doc", docs[0] if len(docs) == 1 else None)
        if not isinstance(doc, str) or not doc:
            raise self._error(f"{where}.doc", doc, "name the document")
        numbers: dict[str, int | None] = {}
        for name, least in (("start", 0), ("end", 1), ("page", 1)):
            value = item.get(name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                raise self._error(f"{where}.{name}", value, f"take a whole number of at least {least}")
            numbers[name] = value
        start, end = numbers["start"], numbers["end"]
        if (start is None) != (end is None):
            missing = "start" if start is None else "end"
            raise self._error(f"{where}.{missing}", None, "'start' and 'end' come together")
        if start is not None and end is not None and end <= start:
            raise self._error(f"{where}.end", end, f"it must be more than 'start', {start}")
        text = item.get("text")
        if text is not None and (not isinstance(text, str) or not text.strip()):
            raise self._error(f"{where}.text", text, "take a text that is not empty")
        return GoldEvidence(doc, start, end, numbers["page"], text)

    def _error(self, name: str, value: object, advice: str) -> QuestionFileError:
        shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:79] + "…"
        what = "is missing" if value is None else f"is {shown}"
        return QuestionFileError(f"{self._path}, line {self._number}: field {name!r} {what}: {advice}")
