"""The table of formats in docs/documents.md names every format, and limits that are the code's."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from reading import ROOT

from ingest.formats import Format
from ingest.parsers import archive, mailbox, ocr, rtf, source, xlsx, xml

PAGE = (ROOT / "docs/documents.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)` \|(.*)$", PAGE.partition("## Backup")[0], re.MULTILINE))


def test_every_format_has_a_row_and_every_row_a_format() -> None:
    assert ROWS.keys() == set(get_args(Format))


@pytest.mark.parametrize(
    ("row", "limit"),
    [
        ("xlsx", f"{xlsx.MAX_CELLS:,} cells"),
        ("xlsx", f"{xlsx.MAX_COLUMNS} columns"),
        ("zip", f"{source.MAX_MEMBERS} files"),
        ("zip", f"{source.MAX_UNPACKED >> 20} MiB unpacked"),
        ("zip", f"{archive.MAX_PART >> 20} MiB each"),
        ("image", f"{ocr.MAX_PIXELS // 1_000_000} million pixels"),
        ("rtf", f"{rtf.MAX_BYTES >> 20} MiB"),
        ("xml", f"{xml.MAX_BYTES >> 20} MiB"),
        ("mailbox", f"{mailbox.MAX_MESSAGES:,}"),
    ],
)
def test_limits_of_the_table_are_those_of_the_code(row: str, limit: str) -> None:
    assert limit in ROWS[row]


def test_archives_are_read_as_deep_as_the_page_says() -> None:
    assert ["no", "one", "two", "three", "four"].index(
        re.search(r"(\w+) deep", ROWS["zip"]).group(1)  # type: ignore[union-attr]
    ) == source.MAX_DEPTH
