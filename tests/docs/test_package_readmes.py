"""The table of files in each package's README names every module of the package, once, and no other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from reading import ROOT, read, tables

PACKAGES = ("longleaf", "model", "rag", "ingest", "api")


def modules(package: str) -> set[str]:
    root = ROOT / package
    found = (str(path.relative_to(root)) for path in root.rglob("*.py") if path.name != "__init__.py")
    return set(found)


def named(package: str) -> Iterator[str]:
    """Paths in the first column. A name without a folder is of the folder of the one before it, or of the
    package; a folder stands for all that is in it."""
    root = ROOT / package
    for row in tables(read(f"{package}/README.md"), "file"):
        folder = ""
        for name in re.findall(r"`([\w/.-]+)`", row[0]):
            inner = name if "/" in name.rstrip("/") or not (root / folder / name).exists() else folder + name
            assert (root / inner).exists(), f"{package}/README.md names {name}, which is not there"
            folder = re.sub(r"[^/]*\Z", "", inner.rstrip("/"))
            if inner.endswith("/"):
                yield from (str(path.relative_to(root)) for path in Path(root / inner).rglob("*.py"))
            else:
                yield inner


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_has_its_line(package: str) -> None:
    counted = Counter(name for name in named(package) if name.endswith(".py"))
    written = {name for name in counted if not name.endswith("__init__.py")}
    assert sorted(modules(package) - written) == []
    assert sorted(written - modules(package)) == []
    assert [name for name, times in counted.items() if times > 1] == []
