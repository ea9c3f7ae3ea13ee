"""Citations: only what is stored, with its page."""

from __future__ import annotations

import logging

import pytest

from rag.citations import Citation, PageRange, page_at, verified


def citation(number: int, start: int, text: str, document: str = "doc_1") -> Citation:
    return Citation(number, document, "T", "t.txt", None, start, start + len(text), text, 7, 0.5)


def test_the_page_is_the_one_that_holds_the_offset() -> None:
    pages = [PageRange(3, 0, 10), PageRange(4, 12, 20), PageRange(9, 20, 30)]
    numbers = {}
    for offset in (0, 9, 11, 12, 19, 20, 29, 99):
        page = page_at(pages, offset)
        assert page is not None
        numbers[offset] = page.number
    assert numbers == {0: 3, 9: 3, 11: 3, 12: 4, 19: 4, 20: 9, 29: 9, 99: 9}
    assert page_at([], 5) is None


def test_what_is_not_stored_is_left_out_and_logged_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    proposed = [
        citation(1, 0, "changed"),
        citation(2, 5, "kept"),
        citation(3, 9, "gone", "doc_2"),
        citation(4, 20, ""),
        citation(5, 30, "also kept"),
    ]
    stored = {
        ("doc_1", 0, 7): "Changed",
        ("doc_1", 5, 9): "kept",
        ("doc_1", 20, 20): "",
        ("doc_1", 30, 39): "also kept",
    }
    with caplog.at_level(logging.WARNING):
        kept = verified(proposed, stored)
    assert [(c.id, c.cited_text) for c in kept] == [(1, "kept"), (2, "also kept")]
    assert "doc_2 [9, 13)" in caplog.text
    assert "changed" not in caplog.text


def test_chunk_ids_are_shown_with_their_prefix() -> None:
    shown = citation(1, 0, "x").as_dict()
    assert shown["chunk_id"] == "chk_7"
    assert (shown["start_char_index"], shown["end_char_index"], shown["page_number"]) == (0, 1, None)
