"""`longleaf distil` from documents to a model with its verdict, with a tiny random student."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from api.commands import distil, distil_training
from api.loaders import Loaders, load_engine, standing_of
from model import Engine
from rag.checking import NO, YES, first_token
from rag.distil.lessons import Lesson
from rag.distil.targets import Kind
from rag.distil.verdict import WorseModel, read, write
from rag.evaluation.runfile import read as read_run
from rag.settings import Settings
from rag.writer import UNTRIED, Standing
from tests.api.conftest import command_of
from tests.model.checkpoints import tiny_model, write_folder

SET = Path(__file__).resolve().parents[1] / "data" / "evaluation"
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def longleaf(
    tmp_path: Path, loaders: Loaders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """The command with the embedder that all tests share."""
    monkeypatch.setenv("LONGLEAF_DEVICE", "cpu")
    monkeypatch.setenv("LONGLEAF_MAX_TOKENS", "24")
    return command_of(tmp_path, Loaders(embedder=loaders.embedder), monkeypatch, capsys)


@pytest.mark.slow
def test_a_student_is_taught_judged_and_refused_where_it_is_not_better(
    longleaf: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = write_folder(tmp_path / "student", tiny_model())
    options = ("--student", student, "--held-out", "0.4", "--rank", "2", "--epochs", "2")
    command = ("distil", "reader", SET, *options)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr(distil, "trial", interrupted)
        stopped = longleaf(*command)
    assert stopped.returncode == 130
    assert not Path("reader").exists(), "a model without a verdict is not there yet"
    other = longleaf(*command, "--name", "other")
    assert other.returncode == 2
    assert "another name" in other.stderr

    with monkeypatch.context() as once:
        once.setattr(distil, "lessons", interrupted)  # they are there
        once.setattr("api.commands.distil_training.open_network", interrupted)
        ended = longleaf(*command)
    assert ended.returncode == 1, ended.stderr
    assert "Not better" in ended.stdout
    assert not Path(".reader.distil").exists()
    found = {path.name for path in Path("reader").iterdir()}
    assert {"model.safetensors", "tokenizer.json", "README.md", "training.html", "longleaf.json"} <= found
    steps = [json.loads(line) for line in Path("reader/training.jsonl").read_text().splitlines()]
    assert [each["step"] for each in steps] == list(range(len(steps)))
    assert steps[0]["held_out"] is not None
    assert steps[-1]["held_out"] is not None
    base, taught = (read_run(Path("reader") / name) for name in ("base.json", "student.json"))
    assert [each.id for each in base.outcomes] == [each.id for each in taught.outcomes]
    assert base.about["model"] != taught.about["model"]
    compared = longleaf("eval", "compare", "reader/base.json", "reader/student.json")
    assert compared.returncode == 0, compared.stderr

    settings = Settings(
        _env_file=None, data_dir=tmp_path / "data", model=str(tmp_path / "reader"), device="cpu"
    )
    with pytest.raises(WorseModel, match="not better"):
        load_engine(settings)
    assert standing_of(settings) == UNTRIED
    load_engine(settings.model_copy(update={"allow_worse_model": True})).close()
    verdict = read(tmp_path / "reader")
    assert verdict is not None
    assert verdict.questions == len(base.outcomes)
    write(tmp_path / "reader", type(verdict)(**{**vars(verdict), "better": True}))
    assert standing_of(settings) == Standing(better=True), "the quotes say more"
    write(tmp_path / "reader", type(verdict)(**{**vars(verdict), "better": True, "writes": True}))
    assert standing_of(settings) == Standing(better=True, writes=True)
    load_engine(settings).close()
    assert longleaf(*command).returncode == 2, "the model is there"


def test_so_many_refusals_are_taught_and_no_more() -> None:
    kinds: list[Kind] = ["answer"] * 8 + ["refusal"] * 12
    made = [
        Lesson(f"{number}", "a.txt", "Who?", (1, 2), "Said. [1]", kind, (3,))
        for number, kind in enumerate(kinds)
    ]
    taught = distil.balanced(made, 0.2, seed=1)
    assert [each.kind for each in taught].count("answer") == 8
    assert len(taught) == 10
    assert len(distil.balanced(made, 0.9, seed=1)) == 20


def test_a_refusal_is_taught_as_a_no_and_an_answer_as_a_sentence_and_a_yes(engine: Engine) -> None:
    tokenizer = engine.tokenizer
    made = [
        Lesson("1", "a.txt", "Who?", (1, 2), "Ada built it. [1]", "answer", (3, 4), "Ada"),
        Lesson("2", "a.txt", "Who?", (1, 5), "The documents do not say.", "refusal", (3, 6)),
        Lesson("3", "a.txt", "Who?", (1, 7), "Ada built it. [3]", "answer", (3, 8)),
    ]
    written = distil_training.examples(made, tokenizer)
    assert [each.prompt for each in written] == [(1, 2), (1, 7)]
    assert {each.first for each in written} == {1.0}
    asked = distil_training.checks(made, tokenizer)
    assert [each.prompt for each in asked] == [(3, 4), (3, 6), (3, 8)]
    end = tokenizer.control["<|im_end|>"]
    assert [tokenizer.decode(each.answer[:-1]) for each in asked] == ["Yes: Ada", "No", "Yes"]
    assert {each.answer[-1] for each in (*written, *asked)} == {end}
    for each in asked:
        assert each.answer[0] in {first_token(engine, YES), first_token(engine, NO)}
        assert each.weight * each.first == distil_training.DECIDING > each.weight == distil_training.BESIDE


def test_a_teacher_is_named_whole(longleaf: Command) -> None:
    for options, match in (
        (("--teacher-url", "http://127.0.0.1:1/v1"), "--teacher-model"),
        (("--teacher-url", "http://127.0.0.1:1/v1", "--teacher", "auto"), "exclude"),
    ):
        called = longleaf("distil", "reader", SET, *options)
        assert called.returncode == 2
        assert match in called.stderr
