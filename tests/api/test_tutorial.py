"""Every command of the tutorial is run, in order, and does what the page says."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.conftest import in_process

ROOT = Path(__file__).resolve().parents[2]
longleaf = pytest.fixture(in_process)
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def commands() -> list[str]:
    page = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
    return [line for block in re.findall(r"(?ms)^```sh\n(.*?)^```", page) for line in block.splitlines()]


@pytest.mark.slow
def test_the_tutorial_holds(longleaf: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    said: dict[str, str] = {}
    for line in commands():
        words = shlex.split(line)
        if words[0] == "export":
            name, _, folder = words[1].partition("=")
            assert name == "LONGLEAF_DATA_DIR"
            monkeypatch.setenv(name, str(tmp_path / folder))
            continue
        assert words[0] == "longleaf", line
        done = longleaf(*words[1:])
        assert done.returncode == 0, (line, done.stderr)
        said[line.removeprefix("longleaf ")] = done.stdout
    assert said[next(line for line in said if line.startswith("ingest"))].startswith("2 read")
    answered = said['ask "What is the weekly cut-off time for BMFOLB requests?"']
    assert "5:00 pm Wednesday" in " ".join(answered.split())
    assert "do not say" in said['ask "What is the capital of Mongolia?"']
    assert '"citations"' in said['ask --json "Who is the pawnbroker?"']
    assert "ncyclop" in said['search "copying the encyclopaedia"']
