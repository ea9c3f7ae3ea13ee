"""docs/evaluation.md: its commands, its questions files and its metrics are those of the program."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
from reading import code, read, tables

from api.cli import app
from rag.evaluation.figures import METRICS
from rag.evaluation.questions import FIELDS, load_questions

PAGE = read("docs/evaluation.md")
COMMANDS = re.findall(r"(?m)^longleaf (eval .*)$", "\n".join(re.findall(r"(?ms)^```sh\n(.*?)^```", PAGE)))


def test_there_are_commands_of_every_verb() -> None:
    assert {command.split()[1] for command in COMMANDS} == {"run", "compare", "sweep", "make", "feedback"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_the_program_takes(command: str) -> None:
    group: Any = typer.main.get_command(app)
    _, verb, *arguments = shlex.split(command)
    parsed = group.commands["eval"].commands[verb]
    context = parsed.make_context(verb, list(arguments))  # raises for an option or argument that is none
    assert context.params
    names = [name.partition("=")[0] for name in re.findall(r"--fail-(?:under|over) (\S+)", command)]
    assert set(names) <= {metric.name for metric in METRICS}


@pytest.mark.parametrize(("kind", "count"), [("json", 3), ("csv", 2)])
def test_the_questions_files_of_the_page(tmp_path: Path, kind: str, count: int) -> None:
    (block,) = re.findall(rf"(?ms)^```{kind}\n(.*?)^```", PAGE.split("## Figures")[0])
    path = tmp_path / f"questions.{kind}"
    path.write_text(block, encoding="utf-8")
    questions = load_questions(path).questions
    assert len(questions) == count
    assert questions[0].answers == ("fourteen months", "14 months")
    assert not questions[-1].answerable


def test_fields_and_metrics() -> None:
    assert {code(row[0]) for row in tables(PAGE, "field")} == {*FIELDS, "accepted"}
    rows = {code(row[0]): row[1] for row in tables(PAGE, "metric")}
    assert rows.keys() == {metric.name for metric in METRICS}
    for metric in METRICS:
        assert rows[metric.name].lower().startswith(metric.meaning.lower())
