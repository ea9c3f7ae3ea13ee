"""Write constraints.txt: the versions that pip chooses today for the project and all extras but `cuda`.

Installs them into a new environment and freezes it, so the file holds versions that were installed together.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from dependencies import ROOT, requirements

EXTRAS = ["postgres", "ocr", "dev"]
# torch brings these where its wheel has CUDA; which ones follows from torch's own version.
LEFT_OUT = re.compile(r"^(nvidia-|triton|cuda-|longleaf\b)", re.IGNORECASE)
HEADER = """\
# Made by `make lock` with Python {python}: every package that was installed together and tested.
# Do not edit: change pyproject.toml, then run `make lock`.
"""


def main() -> None:
    """Freeze a new environment into constraints.txt; a local version label (`+cpu`) is left out."""
    with tempfile.TemporaryDirectory(prefix="longleaf-lock-") as folder:
        place = Path(folder)
        wanted = place / "requirements.txt"
        wanted.write_text("\n".join(requirements(ROOT / "pyproject.toml", EXTRAS)), encoding="utf-8")
        venv.create(place / "venv", with_pip=True, symlinks=True)
        pip = [str(place / "venv" / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", "-r", str(wanted)], check=True)
        frozen = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout
    pins = sorted(
        (re.sub(r"\+.*$", "", line) for line in frozen.splitlines() if not LEFT_OUT.match(line)),
        key=str.lower,
    )
    if unpinned := [line for line in pins if "==" not in line]:
        sys.exit(f"lock: not a released version: {unpinned}")
    target = ROOT / "constraints.txt"
    target.write_text(
        HEADER.format(python=platform.python_version()) + "\n".join(pins) + "\n", encoding="utf-8"
    )
    print(f"constraints.txt: {len(pins)} packages")


if __name__ == "__main__":
    main()
