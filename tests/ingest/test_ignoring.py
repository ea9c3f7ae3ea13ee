"""Ignore files mean what git makes of them, and debris is left out before."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.mirroring.ignore import IGNORE_FILE, Rules
from ingest.mirroring.scan import scan

FILES = (
    "a.txt", "b.md", "notes", "x/a.txt", "x/b.md", "x/notes", "x/y/a.txt", "x/y/b.md", "x/y/z/notes",
    "build/a.txt", "x/build/a.txt", "ab c.txt", "x/ab c.txt", "[x].txt", "über.txt",
)  # fmt: skip
PATTERNS = (
    "a.txt", "/a.txt", "*.md", "!b.md", "!x/b.md", "x/", "/x/y/", "x/*", "!x/y", "!x/y/", "**/notes", "notes",
    "build/", "x/**/a.txt", "x/**", "!x/**/b.md", "*", "!*.txt", "!*/", "# a comment", "", "a?.txt", "[ab].*",
    "\\[x\\].txt", "ab c.txt", "ab c.txt  ", "!", "ü*", "y", "/y", "x/y/z", "\\!b.md", "**", "/**/z",
    "*/notes", "x/y/*.md",
)  # fmt: skip


def left(files: dict[str, str]) -> set[str]:
    """What a scan takes of a folder with these files."""
    with tempfile.TemporaryDirectory() as name:
        for path, content in files.items():
            (Path(name) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(name) / path).write_text(content)
        return set(scan(Path(name)).files)


def gits(files: dict[str, str]) -> set[str]:
    """What git would take, by the same ignore files."""
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(["git", "init", "-q", name], check=True)
        for path, content in files.items():
            (Path(name) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(name) / path).write_text(content)
        command = ["git", "-C", name, "ls-files", "-z", "--others", f"--exclude-per-directory={IGNORE_FILE}"]
        listed = subprocess.run(command, check=True, capture_output=True).stdout.decode().split("\0")
        return {path for path in listed if path and not path.endswith(IGNORE_FILE)}


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not here to compare with")
@settings(max_examples=60)
@given(
    top=st.lists(st.sampled_from(PATTERNS), max_size=5),
    inner=st.lists(st.sampled_from(PATTERNS), max_size=3),
    deep=st.lists(st.sampled_from(PATTERNS), max_size=2),
)
@example(top=["*", "!*/", "!*.txt"], inner=["a.txt"], deep=["!a.txt"])
@example(top=["x/*", "!x/y/"], inner=[], deep=["*"])
def test_rules_mean_what_git_makes_of_them(top: list[str], inner: list[str], deep: list[str]) -> None:
    files = dict.fromkeys(FILES, "text")
    for folder, lines in (("", top), ("x/", inner), ("x/y/", deep)):
        files[f"{folder}{IGNORE_FILE}"] = "\n".join(lines) + "\n"
    assert left(files) == gits(files)


@pytest.mark.parametrize(
    "path",
    ["~$report.docx", "report.docx~", "film.crdownload", "Thumbs.db", ".git/config", "node_modules/a/b.js",
     "x/.DS_Store", "a.swp", "__pycache__/a.txt", "Desktop.ini".lower()],
)  # fmt: skip
def test_debris_is_left_out_unless_a_rule_says_otherwise(path: str) -> None:
    assert left({path: "x", "kept.txt": "x"}) == {"kept.txt"}
    first, _, rest = path.partition("/")
    again = f"!{first}{'/' if rest else ''}\n!{path}\n"
    assert path in left({path: "x", IGNORE_FILE: again})


def test_a_rule_of_an_inner_folder_goes_before_one_further_out() -> None:
    files = {
        IGNORE_FILE: "*.txt\n",
        f"x/{IGNORE_FILE}": "!a.txt\n",
        "a.txt": "",
        "x/a.txt": "",
        "x/b.txt": "",
    }
    assert left(files) == {"x/a.txt"}


def test_an_ignore_file_in_any_encoding_is_read(tmp_path: Path) -> None:
    (tmp_path / IGNORE_FILE).write_bytes(b"\xef\xbb\xbf*.md\r\n\xff.txt\n")
    rules = Rules().inside("", tmp_path)
    assert rules.leave_out("b.md", is_folder=False)
    assert not rules.leave_out("b.txt", is_folder=False)
