"""A process that is killed while it holds a copy of a document leaves none behind, or none for long."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from holders import CANARY, HOLDING, Holder
from ingesting import tiny_pdf

from ingest.files import passing_file
from ingest.limits import ParseLimits
from ingest.locks import held_folder
from ingest.sandbox import parse_document

PASSING = f"""
from ingest.files import passing_file
with passing_file() as (file, path):
    file.write({CANARY!r})
    file.flush()
    print(path, flush=True)
    input()
"""


def holding(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and CANARY in path.read_bytes()]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a passing file has a name")
def test_a_passing_file_has_no_name_while_others_read_it(tmp_path: Path) -> None:
    holder = Holder(PASSING, temporary=tmp_path)
    assert holder.path.read_bytes() == CANARY
    assert list(tmp_path.rglob("*")) == []
    holder.kill()
    assert not holder.path.exists()
    assert list(tmp_path.rglob("*")) == []


def test_a_child_parses_a_passing_file() -> None:
    with passing_file() as (file, path):
        file.write(tiny_pdf(["One page of it.", "Another page of it."]))
        file.flush()
        parsed = parse_document(path, "passed.pdf", ParseLimits(seconds=60))
    assert parsed.text.split("\n\n")[:2] == ["One page of it.", "Another page of it."]


def test_folders_of_the_dead_go_when_the_next_is_made(tmp_path: Path) -> None:
    dead, living = (Holder(HOLDING, str(tmp_path), "work_") for _ in range(2))
    dead.kill()
    assert len(holding(tmp_path)) == 2
    with held_folder(tmp_path, "work_") as mine:
        assert holding(tmp_path) == [living.path / "part"]
        assert mine.parent == tmp_path
    assert not mine.exists()
    living.kill()
