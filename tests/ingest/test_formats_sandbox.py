"""Every format in the confined process: its libraries load and read there; files of other programs."""

from __future__ import annotations

from pathlib import Path

import pytest
from parsed import check_ranges, found, headers
from test_fuzz_parsers import SEEDS

from ingest.sandbox import ParseLimits, parse_document

FOLDER = Path(__file__).resolve().parents[1] / "data" / "formats"
LIMITS = ParseLimits(seconds=60, memory_bytes=512 << 20)


@pytest.mark.parametrize("filename", SEEDS)
def test_every_format_is_read_in_the_sandbox(tmp_path: Path, filename: str) -> None:
    path = tmp_path / "blob"
    path.write_bytes(SEEDS[filename]())
    document = parse_document(path, filename, LIMITS)
    check_ranges(document)
    assert document.text.strip()
    assert document.media_type != "text/plain" or filename in ("a.txt", "a.py")


def test_an_outlook_message_has_its_people_text_and_attachments() -> None:
    document = parse_document(FOLDER / "fake-email-attachment.msg", "a.msg", LIMITS)
    check_ranges(document)
    assert (document.media_type, document.title) == (
        "application/vnd.ms-outlook",
        "Fake email with attachment",
    )
    assert 'From: "Mallori Harrell" <mallori@unstructured.io>' in document.text
    assert "Here's the attachments!" in document.text
    assert found(document, "heading")[-1] == "Attachment: fake-attachment.txt"
    assert document.text.endswith("Hey this is a fake attachment!")


@pytest.mark.parametrize(
    ("filename", "header"),
    [
        ("stanley-cups.xlsx", "Team | Location | Stanley Cups"),
        ("fake-power-point-table.pptx", "Column 1 | Column 2 | Column 3"),
        ("fake.odt", "Header row | Mon | Wed | Fri"),
    ],
)
def test_tables_of_other_programs_have_their_headers(filename: str, header: str) -> None:
    document = parse_document(FOLDER / filename, filename, LIMITS)
    check_ranges(document)
    assert headers(document)[0] == header
