"""Questions files: both formats give the same questions, and an error names file, line, field and value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rag.evaluation.questions import GoldEvidence, GoldQuestion, QuestionFileError, load_questions

RANGE = {
    "id": "a",
    "question": "Wer wählte, und wann?",
    "answers": ["Anna; Bea", "1848"],
    "doc": "de/wahl.txt",
    "evidence": [{"doc": "de/wahl.txt", "start": 4, "end": 9, "text": "Anna;"}],
    "evidence_mode": "all",
    "language": "de",
    "depth": 0.4,
}
EXPECTED = GoldQuestion(
    "a",
    "Wer wählte, und wann?",
    ("Anna; Bea", "1848"),
    True,
    ("de/wahl.txt",),
    (GoldEvidence("de/wahl.txt", 4, 9, None, "Anna;"),),
    "all",
    "de",
)


def jsonl(folder: Path, *records: Any, name: str = "questions.jsonl") -> Path:
    path = folder / name
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_line_of_a_development_set(tmp_path: Path) -> None:
    assert load_questions(jsonl(tmp_path, RANGE)).questions == (EXPECTED,)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_gives_the_same_questions(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "questions.csv"
    evidence = json.dumps(RANGE["evidence"]).replace('"', '""')
    header = ["id", "question", "answers", "answerable", "doc", "evidence", "evidence_mode", "language"]
    row = ["a", f'"{RANGE["question"]}"', '"Anna; Bea|1848"', "yes", "de/wahl.txt", f'"{evidence}"', "all"]
    text = delimiter.join(header) + "\r\n" + delimiter.join([*row, "de"]) + "\r\n\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_questions(path).questions == (EXPECTED,)


def test_a_short_table(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text('question,doc,page,answers\n"What,\nthen?",a.pdf,3,"[""x|y""]"\nNo more?,,,\n', "utf-8")
    first, second = load_questions(path).questions
    assert first.evidence == (GoldEvidence("a.pdf", page=3),)
    assert (first.question, first.answers, first.id) == ("What,\nthen?", ("x|y",), "line-2")
    assert (second.docs, second.evidence, second.answerable, second.id) == ((), (), True, "line-4")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"page": 7}, GoldEvidence("d.pdf", page=7)),
        ({"evidence": "as it stands"}, GoldEvidence("d.pdf", text="as it stands")),
        ({"evidence": [{"doc": "e.txt"}]}, GoldEvidence("e.txt")),
        ({"evidence": [{"start": 0, "end": 1}]}, GoldEvidence("d.pdf", 0, 1)),
    ],
)
def test_kinds_of_evidence(tmp_path: Path, more: dict[str, Any], expected: GoldEvidence) -> None:
    (question,) = load_questions(jsonl(tmp_path, {"question": "Why?", "doc": "d.pdf", **more})).questions
    assert question.evidence == (expected,)


def test_documents_of_several_needs_and_none(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        {"id": 1, "question": "Both?", "doc": ["a.txt", "b.txt"], "answers": [["x", "y"], "z"]},
        {"id": 2, "question": "None?", "answerable": False, "answers": [], "accepted": False},
        {"id": 3, "question": "Where?", "evidence": [{"doc": "c.txt", "text": "t"}]},
    )
    both, none, where = load_questions(path).questions
    assert (both.docs, both.answers, both.cluster) == (("a.txt", "b.txt"), ("x", "y", "z"), "a.txt")
    assert (none.answerable, none.accepted, none.cluster) == (False, False, "2")
    assert where.docs == ("c.txt",)


def test_a_folder_with_its_documents(tmp_path: Path) -> None:
    jsonl(tmp_path, RANGE)
    (tmp_path / "haystacks").mkdir()
    assert load_questions(tmp_path).folders == (tmp_path / "haystacks",)
    (tmp_path / "questions.csv").write_text("question\nx?\n", "utf-8")
    with pytest.raises(QuestionFileError, match="has both of"):
        load_questions(tmp_path)
    with pytest.raises(QuestionFileError, match="has neither of"):
        load_questions(tmp_path / "haystacks")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": ', "no JSON"),
        ("[1]", r"'\[1\]' is no JSON object"),
        ({"id": "x"}, "field 'question' is missing"),
        ({"question": " "}, "field 'question' is ' '"),
        ({"question": "q", "answers": [3]}, r"field 'answers' is \[3\]"),
        ({"question": "q", "answer": ["x"]}, "field 'answer' is .*is 'answers' meant"),
        ({"question": "q", "answerable": "no"}, "field 'answerable' is 'no'"),
        ({"question": "q", "answerable": False, "answers": ["x"]}, "field 'answers' is .* not answerable"),
        ({"question": "q", "doc": 3}, "field 'doc' is 3"),
        ({"question": "q", "evidence": [{"text": "t"}]}, r"field 'evidence\[0\].doc' is missing"),
        ({"question": "q", "evidence": [{"doc": "d", "start": 4}]}, r"'evidence\[0\].end' is missing"),
        ({"question": "q", "evidence": [{"doc": "d", "start": 4, "end": 4}]}, "more than 'start', 4"),
        ({"question": "q", "evidence": [{"doc": "d", "start": -1, "end": 4}]}, "start' is -1"),
        ({"question": "q", "evidence": [{"doc": "d", "page": 0}]}, "page' is 0: .* at least 1"),
        ({"question": "q", "evidence_mode": "some"}, "'evidence_mode' is 'some': take 'any' or 'all'"),
        ({"question": "q", "language": 1}, "'language' is 1"),
        ({"question": "q", "id": "a"}, "'id' is 'a', which line 1 has too"),
    ],
)
def test_an_error_names_file_line_field_and_value(tmp_path: Path, line: Any, message: str) -> None:
    path = jsonl(tmp_path, RANGE, "", line)
    with pytest.raises(QuestionFileError, match=message) as caught:
        load_questions(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column is named 'question'"),
        (b"frage\nWas?\n", "no column is named 'question'"),
        (b"question\n", "holds no question"),
        (b"question,doc\nWhat, then?,a.txt\n", "line 2: 3 cells under 2 columns"),
        (b'question\n"open\n', "line 2: no CSV"),
        (b"question\n\xff\n", "not UTF-8"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "q.csv"
    path.write_bytes(content)
    with pytest.raises(QuestionFileError, match=message):
        load_questions(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(QuestionFileError, match=r"none\.jsonl: there is no such file"):
        load_questions(tmp_path / "none.jsonl")
