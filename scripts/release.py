"""What a release needs of the source: `release.py check v1.2.3` and `release.py notes v1.2.3`.

`check` compares the tag with the version in pyproject.toml and CHANGELOG.md; `notes` prints the changelog's
section, for the release's page.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def version(root: Path = ROOT) -> str:
    """The version that pyproject.toml says."""
    said: str = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    return said


def notes(wanted: str, root: Path = ROOT) -> str:
    """The section of that version in the changelog; exits where there is none, or it is empty."""
    text = (root / "CHANGELOG.md").read_text("utf-8")
    found = re.search(rf"(?ms)^## \[{re.escape(wanted)}\] - \d{{4}}-\d\d-\d\d$(.*?)(?=^## \[|\Z)", text)
    if found is None or not found[1].strip():
        sys.exit(
            f"CHANGELOG.md has no section '## [{wanted}] - YYYY-MM-DD' with something in it; write it first"
        )
    return found[1].strip()


def check(tag: str, root: Path = ROOT) -> str:
    """The version of a tag; exits where tag, pyproject.toml and changelog do not agree."""
    if tag != f"v{version(root)}":
        sys.exit(f"the tag is {tag}, pyproject.toml has version {version(root)}: it must be v{version(root)}")
    notes(version(root), root)
    return version(root)


def main() -> None:
    """Run one of the two."""
    match sys.argv[1:]:
        case ["check", tag]:
            print(check(tag))
        case ["notes", tag]:
            print(notes(check(tag)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
