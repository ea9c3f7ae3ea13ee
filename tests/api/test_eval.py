"""`longleaf eval`, on three short documents and their questions, with the real models."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from api.commands import eval_make
from api.loaders import Loaders
from model import Finished, TokenEvent
from rag.evaluation.measuring import Measurer
from rag.evaluation.proposals import Excerpt, by_model
from rag.evaluation.questions import load_questions
from rag.evaluation.runfile import read
from tests.api.conftest import command_of

SET = Path(__file__).resolve().parents[1] / "data" / "evaluation"
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def longleaf(
    tmp_path: Path, loaders: Loaders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """The command with the models that all tests share."""
    return command_of(tmp_path, loaders, monkeypatch, capsys)


def test_a_run_its_files_and_its_continuation(longleaf: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    measure = Measurer.measure

    def interrupted(self: Measurer, gold: Any, cancel: Any) -> Any:
        asked.append(gold.id)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return measure(self, gold, cancel)

    monkeypatch.setattr(Measurer, "measure", interrupted)
    command = ("eval", "run", SET, "--limit", "3", "--out", "run.json", "--report", "run.html")
    stopped = longleaf(*command)
    assert stopped.returncode == 130
    assert "2 answers are kept in run.json.part" in stopped.stderr
    assert not Path("run.json").exists()

    ended = longleaf(
        *command, "--fail-under", "exact=1", "--fail-under", "page=1", "--fail-over", "tokens=9000"
    )
    assert ended.returncode == 0, ended.stderr
    assert "2 of 3 questions were answered before" in ended.stderr
    assert asked[2] == asked[3]
    assert len(asked) == 4
    assert not Path("run.json.part").exists()
    assert "found@1" in ended.stdout
    run = read(Path("run.json"))
    assert sorted(each.id for each in run.outcomes) == sorted({*asked})
    assert run.about["documents"]["count"] == 3
    assert run.about["settings"]["top_k"] == 20
    assert all(quote.exact and quote.page_right for each in run.outcomes for quote in each.quotes)
    assert all(each.located for each in run.outcomes if each.answerable)
    assert all(each.milliseconds > 0 and each.packed_tokens > 0 for each in run.outcomes)
    assert Path("run.html").read_text().count("<details") == 3

    other = longleaf("eval", "run", SET, "--limit", "3", "--out", "small.json", "--budget", "64",
                     "--fail-under", "packed=1.01", "--json")  # fmt: skip
    assert other.returncode == 1
    assert "packed is " in other.stderr
    assert json.loads(other.stdout)["settings"]["max_context_tokens"] == 64

    compared = longleaf("eval", "compare", "run.json", "small.json", "--json", "--report", "compare.html")
    assert compared.returncode == 0, compared.stderr
    found = json.loads(compared.stdout)
    assert found["questions"] == 3
    assert found["settings"]["settings.max_context_tokens"] == [0, 64]
    change = {each["metric"]: each for each in found["changes"]}
    assert change["tokens"]["difference"] < 0
    assert change["found@1"]["difference"] == 0
    assert "B - A" in longleaf("eval", "compare", "run.json", "small.json").stdout

    cut = json.loads(Path("run.json").read_text())
    Path("cut.json").write_text(json.dumps({**cut, "questions": cut["questions"][:2]}))
    refused = longleaf("eval", "compare", "cut.json", "small.json")
    assert refused.returncode == 2
    assert "--common" in refused.stderr
    assert longleaf("eval", "compare", "cut.json", "small.json", "--common").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "none.jsonl"], "none.jsonl: there is no such file"),
        (["run", "bad.jsonl"], "bad.jsonl, line 2: field 'answerable' is 3"),
        (["run", "good.jsonl"], "--docs FOLDER"),
        (["run", "good.jsonl", "--docs", "nowhere"], "--docs nowhere: there is no such folder"),
        (["run", "good.jsonl", "--docs", ".", "-c", "x"], "exclude each other"),
        (["run", "good.jsonl", "--docs", ".", "--language", "fr"], "there are: none"),
        (["run", "good.jsonl", "--docs", ".", "--fail-under", "nice=1"], "there is no metric 'nice'"),
        (["run", "good.jsonl", "--docs", ".", "--fail-under", "quotes=high"], "'high' is no number"),
        (["run", "good.jsonl", "--docs", ".", "--fail-under", "latency=5"], "use --fail-over"),
        (["run", "good.jsonl", "--docs", ".", "--out", "no/where.json"], "there is no folder"),
        (["compare", "good.jsonl", "none.json"], "good.jsonl: no run file"),
        (["sweep", "good.jsonl", "--docs", ".", "--apply"], "name it by --collection"),
        (["sweep", "good.jsonl", "--docs", ".", "--budgets", "9"], "--budgets 9"),
        (["sweep", "good.jsonl", "--docs", ".", "--metric", "latency"], "--metric latency: take one of"),
        (["make", "good.jsonl", "--docs", ".", "--by", "hand"], "--by hand"),
        (["make", "good.jsonl", "--docs", "."], "--yes N"),
        (["make", "bad.jsonl", "--docs", ".", "--yes", "1"], "bad.jsonl, line 2"),
    ],
)
def test_what_can_not_be_taken_ends_with_2_before_anything_is_loaded(
    longleaf: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr("api.commands.session.Service", None)
    Path("good.jsonl").write_text('{"question": "Why?"}\n')
    Path("bad.jsonl").write_text('{"question": "Why?"}\n{"question": "How?", "answerable": 3}\n')
    ended = longleaf("eval", *arguments)
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert message in ended.stderr


def test_a_sweep_sets_the_collections_budget(longleaf: Command) -> None:
    shutil.copytree(SET / "docs", "docs")
    assert longleaf("ingest", "docs", "-c", "papers").returncode == 0
    swept = longleaf("eval", "sweep", SET / "questions.jsonl", "-c", "papers", "--limit", "2",
                     "--budgets", "64,512", "--apply", "--report", "sweep.html", "--json")  # fmt: skip
    assert swept.returncode == 0, swept.stderr
    found = json.loads(swept.stdout)
    assert [trial["budget"] for trial in found["trials"]] == [64, 512]
    assert found["chosen"] in (64, 512)
    assert all(trial["tokens"] <= trial["budget"] for trial in found["trials"])
    assert "questions are few" in swept.stderr
    assert "<svg" in Path("sweep.html").read_text()
    (papers,) = [line for line in longleaf("status").stdout.splitlines() if "papers" in line]
    assert papers.endswith(f"budget {found['chosen']} tokens")


def test_questions_are_made_and_asked_at_once(longleaf: Command) -> None:
    made = longleaf("eval", "make", "mine.jsonl", "--docs", SET / "docs", "--yes", "3")
    assert made.returncode == 0, made.stderr
    assert "too small to write questions" in made.stderr
    questions = load_questions(Path("mine.jsonl")).questions
    assert len(questions) == 3
    assert len({question.docs for question in questions}) == 3  # document by document
    for question in questions:
        text = (SET / "docs" / question.docs[0]).read_text()
        (evidence,) = question.evidence
        assert text[evidence.start : evidence.end] == evidence.text == question.answers[0]
    assert longleaf("eval", "make", "mine.jsonl", "--docs", SET / "docs", "--yes", "2").returncode == 0
    assert len({question.id for question in load_questions(Path("mine.jsonl")).questions}) == 5
    asked = longleaf("eval", "run", "mine.jsonl", "--docs", SET / "docs", "--limit", "2", "--json",
                     "--fail-under", "found@4=1")  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    assert "2 of the 2 questions are proposals that nobody has accepted" in asked.stderr


def test_a_person_accepts_edits_and_rejects(longleaf: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter(["r", "a", "e", "And what?", "not there at all", "a", "q"])
    proposals: list[Any] = []
    asked = eval_make._asked
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(typer, "prompt", lambda *_, **__: next(said))
    monkeypatch.setattr(eval_make, "_asked", lambda each: proposals.append(each) or asked(each))
    made = longleaf("eval", "make", "mine.jsonl", "--docs", SET / "docs")
    assert made.returncode == 0, made.stderr
    assert "'not there at all' does not stand in the passage" in made.stderr
    kept = load_questions(Path("mine.jsonl")).questions
    assert [each.id for each in kept] == [each.id for each in proposals[1:3]]
    assert all(each.accepted for each in kept)
    assert list(said) == []


class Writes:
    """An engine that answers every chat with the same text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def chat(self, *_: Any) -> Iterator[Any]:
        """Yields the text as one token."""
        yield TokenEvent(0, self.text, 0)
        yield Finished("stop", 1, 0, 1, self.text)


PASSAGE = "The mill was built\nin 1650 by Anna."


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ('{"question": "When was the mill  built?", "answer": "in 1650"}', "in 1650"),
        ('{"question": "What happened in that year?", "answer": "built in 1650"}', "built\nin 1650"),
        ('{"question": "When was it built?", "answer": "in 1651"}', None),
        ('{"question": "Was it built in 1650?", "answer": "in  1650"}', None),
        ('{"question": "When was', None),
    ],
)
def test_what_a_model_writes_is_taken_where_its_answer_stands_in_the_passage(
    written: str, answer: str | None
) -> None:
    engine: Any = Writes(written)
    made = by_model(engine)(Excerpt("doc_1", "mill.txt", 100, PASSAGE))
    assert (None if made is None else made.answer) == answer
    if made is not None:
        assert PASSAGE[made.start - 100 : made.end - 100] == answer
        assert "  " not in made.question
