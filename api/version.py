"""The version of this installation: that of the package, written in one place, pyproject.toml."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path


def version() -> str:
    """Return e.g. `0.1.0`; read from pyproject.toml where the package is used without being installed."""
    try:
        return metadata.version("longleaf")
    except metadata.PackageNotFoundError:
        project = Path(__file__).parent.parent / "pyproject.toml"
        if not project.is_file():
            return "unknown"
        return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])
