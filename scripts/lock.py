"""Write constraints.txt: the versions that pip chooses today for the project and all extras but `cuda`.

Chosen for Python 3.11.0: some packages leave out the early releases of 3.11 that Debian and others carry.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from dependencies import ROOT, requirements

EXTRAS = ["postgres", "ocr", "otel", "s3", "ray", "dev"]
# torch brings these where its wheel has CUDA; which ones follows from torch's own version.
LEFT_OUT = re.compile(r"(nvidia-|triton|cuda-)", re.IGNORECASE)
HEADER = """\
# Made by `make lock`: the versions of every package, chosen together for Python 3.11.0 and later.
# Do not edit: change pyproject.toml, then run `make lock`.
"""


def resolve(wanted: Path, place: Path) -> list[tuple[str, str]]:
    """Names and versions that pip would install into an empty environment, as its report says."""
    report = place / "report.json"
    venv.create(place / "venv", with_pip=True, symlinks=True)
    command = [str(place / "venv" / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
    # pip takes another Python version than its own only with wheels and a target folder.
    command += ["--python-version", "3.11.0", "--only-binary", ":all:", "--target", str(place / "target")]
    command += ["--quiet", "--dry-run", "--report", str(report), "-r", str(wanted)]
    subprocess.run(command, check=True)
    chosen = json.loads(report.read_text(encoding="utf-8"))["install"]
    return [(item["metadata"]["name"], item["metadata"]["version"]) for item in chosen]


def main() -> None:
    """Resolve and write; a local version label (`+cpu`) is left out."""
    with tempfile.TemporaryDirectory(prefix="longleaf-lock-") as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text("\n".join(requirements(ROOT / "pyproject.toml", EXTRAS)), encoding="utf-8")
        chosen = resolve(wanted, Path(folder))
    pins = [f"{name}=={version.partition('+')[0]}" for name, version in chosen if not LEFT_OUT.match(name)]
    (ROOT / "constraints.txt").write_text(
        HEADER + "\n".join(sorted(pins, key=str.lower)) + "\n", encoding="utf-8"
    )
    print(f"constraints.txt: {len(pins)} packages")


if __name__ == "__main__":
    if sys.version_info[:2] != (3, 11):
        sys.exit("lock: run this with Python 3.11")
    main()
