"""Links lead somewhere, commands exist, and no file names a folder of one machine or a registry's host."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from reading import ROOT, read

from api import schemas


def tracked() -> list[Path]:
    """Files of the project: what git tracks, or, in an unpacked archive, what lies outside hidden folders."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts]


# Works of others: their links lead into the works that they were cut from, and their bytes need not be UTF-8.
FOREIGN = re.compile(r"/(demo/documents/nist|tests/data/hostile/(?!NOTICE))")
PAGES = [path for path in tracked() if path.suffix == ".md" and not FOREIGN.search(path.as_posix())]


def anchor(heading: str) -> str:
    """The anchor that the usual renderers give a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_resolve(page: Path) -> None:
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href|srcset)="([^"]+)"', text):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, fragment = unquote(link).partition("#")
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), f"{link} in {page.name}"
        if fragment and found.suffix == ".md":
            headings = re.findall(r"(?m)^#+ (.*)$", found.read_text(encoding="utf-8"))
            assert fragment in {anchor(heading) for heading in headings}, f"{link} in {page.name}"


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", read("Makefile")))
    for page in (*PAGES, ROOT / ".ci" / "run"):
        text = page.read_text(encoding="utf-8")
        in_code = " ".join(re.findall(r"(?s)```.*?```|`[^`\n]+`", text)) if page.suffix == ".md" else text
        named = set(re.findall(r"(?<!eval )\bmake ([a-z-]+)\b", in_code))
        assert named <= targets, f"{page.name}: {named - targets}"


def test_scripts_that_are_named_exist() -> None:
    for page in (*PAGES, ROOT / "Makefile", ROOT / ".ci" / "run"):
        for script in re.findall(r"(?<![\w/])(?:\./)?(scripts/[\w.-]*\w)", page.read_text(encoding="utf-8")):
            assert (ROOT / script).exists(), f"{script} in {page.name}"


def test_fields_of_the_readmes_example_are_those_of_the_schema() -> None:
    bodies = re.findall(r"(?s)-d \'(\{.*?\})\'", read("README.md"))
    assert bodies
    for body in bodies:
        assert schemas.QueryRequest.model_validate_json(body)


FORBIDDEN = {
    "a folder of one machine": re.compile(r"(?<![\w./~-])/(?:work|farm|home/\w+|Users/\w+)/"),
    "a package registry's or index's host": re.compile(
        r"(?:files\.python|pypi\.)[a-z.]*org|download\.pytorch"
    ),
}


@pytest.mark.parametrize("what", sorted(FORBIDDEN))
def test_tree_does_not_name(what: str) -> None:
    found = []
    for path in tracked():
        if path == Path(__file__) or path.stat().st_size > 1_000_000:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {hit.group()}" for hit in FORBIDDEN[what].finditer(text)]
    assert found == []


def test_pinned_versions_are_chosen_without_cuda() -> None:
    names = {line.partition("==")[0].lower() for line in read("constraints.txt").splitlines() if "==" in line}
    assert "torch" in names
    assert [name for name in names if name.startswith(("nvidia", "cuda", "triton"))] == []


def test_every_dependency_is_pinned_within_its_range() -> None:
    pins = {
        canonicalize_name(name): Version(version)
        for name, _, version in (line.partition("==") for line in read("constraints.txt").splitlines())
        if version
    }
    listed = subprocess.run(
        [sys.executable, "scripts/dependencies.py", "postgres", "ocr", "dev"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for line in listed.splitlines():
        wanted = Requirement(line)
        name = canonicalize_name(wanted.name)
        assert name in pins, f"{name}: run `make lock`"
        assert wanted.specifier.contains(pins[name]), f"{name}: run `make lock`"


def test_all_tests_are_run() -> None:
    """pytest is given the folders in order, quick ones first: none is left out."""
    listed = tomllib.loads(read("pyproject.toml"))["tool"]["pytest"]["ini_options"]["testpaths"]
    there = {f"tests/{path.parent.name}" for path in (ROOT / "tests").glob("*/test_*.py")}
    assert set(listed) == there
