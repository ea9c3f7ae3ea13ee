"""Chunks tile the text, are of about one size, and are cut where the text parts by itself."""

from __future__ import annotations

import re
import statistics
import unicodedata
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingesting import Desk, WordEmbedder, tiny_pdf

from ingest.chunking import OVERSIZE, Chunk, chunk_document, embedding_text
from ingest.parsers import markdown, text
from ingest.parsers.base import ParsedDocument, assemble
from ingest.worker import Worker
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Chunks
from rag.store.session import Database

if TYPE_CHECKING:
    from rag.embedders.base import Embedder

DEMO = Path(__file__).resolve().parents[2] / "demo" / "documents"


def words(source: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\S+", source)]


def letters(source: str) -> list[tuple[int, int]]:
    """Every character that stands for itself: no blanks, marks or joiners."""
    kinds = ("Zs", "Zl", "Zp", "Cc", "Cf", "Mn", "Mc", "Me")
    return [(at, at + 1) for at, char in enumerate(source) if unicodedata.category(char) not in kinds]


def plain(source: str) -> ParsedDocument:
    return assemble(text.read(source))


def marked(source: str) -> ParsedDocument:
    return assemble(markdown.read(source))


def check_tiling(document: ParsedDocument, chunks: list[Chunk]) -> None:
    assert bool(chunks) == bool(document.text)
    if chunks:
        assert (chunks[0].start, chunks[-1].end) == (0, len(document.text))
    assert all(chunk.start < chunk.end for chunk in chunks)
    assert all(before.end == after.start for before, after in pairwise(chunks))


# Texts as hypothesis makes them hold few sentences and headings: half of the pieces are such.
PIECES = st.one_of(
    st.text(),
    st.sampled_from(
        [
            *("# A heading\n", "## Lower\n\n", "One sentence. ", "Another: ", "- item\n", "\n\n", "\r\n"),
            *("| a | b |\n|---|---|\n", "```\ncode\n```\n", "ประโยคหนึ่ง", "一句話。", "e\u0301\u200d"),
            *("a" * 90, " " * 50),
        ]
    ),
)
SOURCES = st.lists(PIECES, max_size=40).map("".join)


@given(SOURCES, st.integers(1, 60), st.sampled_from([plain, marked]), st.sampled_from([words, letters]))
def test_chunks_tile_any_text(source: str, target: int, read, tokens) -> None:
    document = read(source)
    chunks = chunk_document(document, tokens, target)
    check_tiling(document, chunks)
    for chunk in chunks:
        assert chunk.tokens <= max(1, int(target * OVERSIZE))


@given(st.text(min_size=1), st.integers(1, 5))
def test_a_tokeniser_that_sees_nothing_still_gives_tiles(source: str, target: int) -> None:
    document = plain(source)
    check_tiling(document, chunk_document(document, lambda _: [], target))


def test_a_target_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        chunk_document(plain("text"), words, 0)


@pytest.mark.parametrize("name", ["the-red-headed-league.txt", "nist-sp800-63b-authenticators.md"])
def test_real_documents_give_chunks_of_about_300_tokens(name: str, embedder: Embedder) -> None:
    source = (DEMO / name).read_text(encoding="utf-8")
    document = marked(source) if name.endswith(".md") else plain(source)
    chunks = chunk_document(document, embedder.token_spans, 300)
    check_tiling(document, chunks)
    sizes = [chunk.tokens for chunk in chunks]
    assert 200 <= statistics.median(sizes) <= 330
    assert max(sizes) <= 300 * OVERSIZE
    assert sum(sizes) == len(embedder.token_spans(source))
    # The model reads prefix, title, headings and text: all of it must fit.
    for chunk in chunks:
        assert len(embedder.token_spans(embedding_text(chunk, source, "A title"))) < embedder.max_tokens - 8
    begun = {block.start for block in document.blocks}
    for chunk in chunks[1:]:
        assert chunk.start in begun or source[: chunk.start].rstrip().endswith((".", "!", "?", '"', "”"))


def test_headings_stay_with_what_they_head_and_their_path_is_kept() -> None:
    body = "This sentence has exactly eight words in it. " * 12
    source = f"# Guide\n\n{body}\n\n## Setup\n\n{body}\n\n### Linux\n\n{body}\n\n## Use\n\n{body}\n"
    chunks = chunk_document(marked(source), words, 100)
    paths = [chunk.headings for chunk in chunks]
    assert paths == [("Guide",), ("Guide", "Setup"), ("Guide", "Setup", "Linux"), ("Guide", "Use")]
    for chunk, path in zip(chunks, paths, strict=True):
        assert source[chunk.start :].startswith("#" * len(path) + f" {path[-1]}")


def test_rows_and_items_stay_whole_and_sentences_do() -> None:
    row = "| one | two | three |\n"
    table = "| a | b | c |\n|---|---|---|\n" + row * 60
    for chunk in chunk_document(marked(table), words, 40)[1:]:
        assert table[chunk.start :].startswith("| one")
    items = "".join(f"- item number {n} of the list\n" for n in range(60))
    for chunk in chunk_document(marked(items), words, 40):
        assert items[chunk.start :].startswith("- item")
    prose = "".join(f"Sentence {n} ends here, as planned. " for n in range(120))
    for chunk in chunk_document(plain(prose), words, 50):
        assert prose[chunk.start :].startswith("Sentence")


def test_combining_marks_are_not_parted() -> None:
    source = "e\u0301" * 500
    for chunk in chunk_document(plain(source), letters, 30):
        assert source[chunk.start] == "e"


@pytest.mark.parametrize("unit", ["word ", "x", "# h\n", "- a\n", "a. ", "\n", "。", "| a |\n"])
@pytest.mark.timeout(60)
def test_many_small_parts_cost_no_square(unit: str) -> None:
    document = marked(unit * 30_000)  # some seconds; minutes if each part looked at all others
    check_tiling(document, chunk_document(document, letters, 300))


def test_what_is_embedded_says_title_path_and_text_once() -> None:
    source = "Setup\n\nInstall   it\n\n\nnow."
    inner = Chunk(7, len(source), ("Guide", "Setup"), 3)
    assert embedding_text(inner, source, "Manual") == "Manual\nGuide > Setup\nInstall it\nnow."
    assert embedding_text(inner, source, "guide") == "Guide > Setup\nInstall it\nnow."
    assert embedding_text(inner, source, None) == "Guide > Setup\nInstall it\nnow."
    assert embedding_text(replace(inner, start=0), source, None) == "Guide\nSetup\nInstall it\nnow."


def check_vectors(desk: Desk, embedder: Embedder, document_id: str) -> int:
    """The stored vectors are those of the texts that `embedding_text` makes of the whole text."""
    document = desk.get(document_id)
    assert document.status == "ready", document.error_detail
    whole = desk.text(document_id)
    with desk.db.read() as session:
        rows = Chunks(session, DEFAULT_SCOPE).of_generation(document_id, document.generation)
    check_tiling(ParsedDocument(whole, (), (), None, ""), [Chunk(r.start, r.end, (), r.tokens) for r in rows])
    expected = embedder.embed_passages([embedding_text(row, whole, document.title) for row in rows])
    stored = np.stack([np.asarray(row.vector, dtype=np.float32) for row in rows])
    # Vectors are kept in half precision; batches of other sizes differ in the last bits.
    assert np.einsum("nd,nd->n", stored, expected).min() > 0.999
    return len(rows)


@pytest.mark.parametrize("kind", ["text", "pdf"])
def test_stored_vectors_are_of_the_whole_embedding_text(
    database: Database, settings: Settings, kind: str
) -> None:
    chunky = settings.model_copy(update={"chunk_tokens": 32})
    desk = Desk(database, chunky)
    lines = [f"Page {n} tells of {word} and nothing else." for n, word in enumerate("abcdefghij" * 5)]
    content = tiny_pdf(lines) if kind == "pdf" else "\n\n".join(lines).encode()
    document_id = desk.upload(content, f"report.{kind}", title="Annual report").document.id
    Worker(database, chunky, desk.embedder).run_until_idle()
    assert check_vectors(desk, WordEmbedder(), document_id) > 8


def test_stored_vectors_of_the_real_embedder(
    database: Database, settings: Settings, embedder: Embedder
) -> None:
    desk = Desk(database, settings, embedder)
    content = (DEMO / "nist-sp800-63b-authenticators.md").read_bytes()[:4_000]
    document_id = desk.upload(content, "guide.md").document.id
    Worker(database, settings, embedder).run_until_idle()
    assert check_vectors(desk, embedder, document_id) > 1


def test_every_chunk_of_a_table_carries_its_header() -> None:
    rows = "".join(f"| city number {number} | {number} | {number * 3} |\n" for number in range(200))
    document = marked(
        f"# Weather\n\nRain by city.\n\n| City | Days | Rain |\n|---|---|---|\n{rows}\nAfter the table.\n"
    )
    chunks = chunk_document(document, words, 60)
    check_tiling(document, chunks)
    header = "| City | Days | Rain |"
    inside = [chunk for chunk in chunks if document.text[chunk.start : chunk.end].startswith("| city")]
    assert len(inside) > 10
    assert all(chunk.headings[-1].startswith(header) for chunk in inside)
    assert all(header in embedding_text(chunk, document.text, "") for chunk in inside)
    assert chunks[0].headings == ("Weather",)
    last = chunk_document(marked(document.text + "\n\n" + "More words follow. " * 60), words, 60)[-1]
    assert last.headings == ("Weather",)


def test_a_wide_header_leaves_room_for_it() -> None:
    names = "|".join(f" name{number}" for number in range(40))
    row = "|".join(f" {number}" for number in range(40))
    document = marked(f"|{names}|\n|{'-|' * 40}\n" + f"|{row}|\n" * 40)
    chunks = chunk_document(document, words, 200)
    check_tiling(document, chunks)
    for chunk in chunks[1:]:
        repeated = len(words(chunk.headings[-1]))
        assert repeated > 20
        assert chunk.tokens + repeated <= 200 * OVERSIZE + 82
