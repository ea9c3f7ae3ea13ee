"""A release is made of what the source says; the workflow names what is there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from reading import ROOT, read

PROJECT = '[project]\nname = "longleaf"\nversion = "{}"\n'
CHANGES = """# Changelog

## [Unreleased]

- Later.

## [1.2.0] - 2026-11-29

### Added
- This.

## [1.1.0] - 2026-10-01

- That.
"""


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import release as module  # noqa: PLC0415

    yield module
    sys.modules.pop("release")


def tree(folder: Path, version: str, changes: str = CHANGES) -> Path:
    (folder / "pyproject.toml").write_text(PROJECT.format(version))
    (folder / "CHANGELOG.md").write_text(changes)
    return folder


def test_a_tag_that_agrees_is_taken(release: ModuleType, tmp_path: Path) -> None:
    assert release.check("v1.2.0", tree(tmp_path, "1.2.0")) == "1.2.0"
    assert release.notes("1.2.0", tmp_path) == "### Added\n- This."


@pytest.mark.parametrize(
    ("tag", "version", "changes"),
    [
        ("v1.2.1", "1.2.0", CHANGES),
        ("1.2.0", "1.2.0", CHANGES),
        ("v1.3.0", "1.3.0", CHANGES),
        ("v1.2.0", "1.2.0", CHANGES.replace(" - 2026-11-29", "")),
        ("v1.2.0", "1.2.0", CHANGES.replace("### Added\n- This.\n", "")),
    ],
)
def test_one_that_does_not_is_refused(
    release: ModuleType, tmp_path: Path, tag: str, version: str, changes: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        release.check(tag, tree(tmp_path, version, changes))
    assert version in str(ended.value)


def test_the_workflow_names_what_is_there() -> None:
    text = read(".github/workflows/release.yml")
    workflow: dict[Any, Any] = yaml.safe_load(text)
    assert workflow["permissions"] == {}  # each job says what it needs
    for name, job in workflow["jobs"].items():
        assert job["permissions"], name
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"])
            # what comes from outside is never part of a command
            assert "${{ github." not in step.get("run", ""), step
    targets = set(re.findall(r"(?m)^([a-z-]+):", read("Makefile")))
    assert set(re.findall(r"make ([a-z-]+)", text)) <= targets | {"release"}
    for script in re.findall(r"scripts/\w+\.py|\.ci/run", text):
        assert (ROOT / script).exists(), script


def test_versions_in_the_manifests_are_the_projects(release: ModuleType) -> None:
    base = yaml.safe_load(read("deploy/kubernetes/base/kustomization.yaml"))
    assert base["images"] == [{"name": "longleaf", "newName": "longleaf", "newTag": release.version()}]
