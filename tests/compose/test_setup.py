"""The set-up is done once, and again when anything that decides it has changed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/setup.py for a project in an empty folder, with an environment that has a Python."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.delitem(sys.modules, "setup", raising=False)
    import setup as module  # noqa: PLC0415

    for name in module.INPUTS:
        (tmp_path / name).write_text(name)
    shutil.copytree(SCRIPTS.parent / "model" / "native", tmp_path / "model" / "native")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "PYTHON", python)
    return module


def stamp(setup: ModuleType, profile: str) -> None:
    (setup.VENV / f".longleaf-{profile}").write_text(setup.fingerprint())


def test_nothing_is_ready_without_a_stamp(setup: ModuleType) -> None:
    assert not setup.is_ready("run", setup.fingerprint())
    assert not setup.is_ready("dev", setup.fingerprint())


def test_the_environment_of_the_tests_serves_as_well(setup: ModuleType) -> None:
    stamp(setup, "dev")
    assert setup.is_ready("run", setup.fingerprint())


def test_the_environment_of_the_service_does_not_do_for_the_tests(setup: ModuleType) -> None:
    stamp(setup, "run")
    assert setup.is_ready("run", setup.fingerprint())
    assert not setup.is_ready("dev", setup.fingerprint())


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt", "requirements-models.txt"])
def test_a_change_of_what_is_installed_makes_it_anew(setup: ModuleType, changed: str) -> None:
    stamp(setup, "dev")
    (setup.ROOT / changed).write_text("other")
    assert not setup.is_ready("dev", setup.fingerprint())


def test_a_moved_project_makes_it_anew(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stamp(setup, "dev")
    before = setup.fingerprint()
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in setup.INPUTS:
        (moved / name).write_text(name)
    monkeypatch.setattr(setup, "ROOT", moved)
    assert setup.fingerprint() != before


def test_a_python_that_is_gone_makes_it_anew(setup: ModuleType) -> None:
    stamp(setup, "dev")
    setup.PYTHON.unlink()
    assert not setup.is_ready("dev", setup.fingerprint())


def test_ready_means_that_nothing_is_run(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp(setup, "dev")

    def refuse(*arguments: object, **_: object) -> None:
        pytest.fail(f"ran {arguments}")

    monkeypatch.setattr(setup.subprocess, "run", refuse)
    setup.main("run")
    setup.main("dev")


def test_other_kernel_sources_are_compiled(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp(setup, "dev")
    with (setup.ROOT / "model" / "native" / "src" / "linear.c").open("a") as source:
        source.write("/* other */\n")
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> object:
        ran.append(command)
        return setup.subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(setup.subprocess, "run", run)
    setup.main("dev")
    assert [str(setup.PYTHON), "-m", "model.native.build"] in ran
