"""model/README.md: its example runs, its table names every file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

MODEL = Path(__file__).resolve().parents[2] / "model"
README = (MODEL / "README.md").read_text("utf-8")


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    found = re.search(r"(?s)```python\n(.*?)```", README)
    assert found
    exec(compile(found[1], "README.md", "exec"), {"__name__": "example"})  # noqa: S102  (our own README)
    answer, _, counts = capsys.readouterr().out.strip().rpartition("\n")
    assert "Paris" in answer
    assert re.fullmatch(r"stop: \d+ tokens read, \d+ written", counts)


def test_the_table_names_every_file() -> None:
    rows = re.findall(r"(?m)^\| (`[^|]*) \|", README)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    files = {path.relative_to(MODEL).as_posix() for path in MODEL.rglob("*.py") if path.name != "__init__.py"}
    assert named == files
