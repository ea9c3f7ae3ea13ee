"""Print the requirements of pyproject.toml, with those of the extras named: `dependencies.py postgres ocr`.

The image installs them in a layer of their own, which a change of the source does not touch.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """Requirement lines of the project and of `extras`, an extra that names another one followed.

    Raises `KeyError` for an extra that the project does not have.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    optional: dict[str, list[str]] = project["optional-dependencies"]
    found: list[str] = list(project["dependencies"])
    waiting = list(extras)
    seen: set[str] = set()
    while waiting:
        extra = waiting.pop(0)
        if extra in seen:
            continue
        seen.add(extra)
        for line in optional[extra]:
            inner = re.fullmatch(rf"{re.escape(project['name'])}\[([\w,-]+)\]", line.replace(" ", ""))
            if inner:
                waiting.extend(inner.group(1).split(","))
            else:
                found.append(line)
    return found


if __name__ == "__main__":
    # In an image the file lies beside pyproject.toml, in a checkout one folder below it.
    here = Path(__file__).resolve().parent
    source = here if (here / "pyproject.toml").exists() else ROOT
    print("\n".join(requirements(source / "pyproject.toml", sys.argv[1:])))
