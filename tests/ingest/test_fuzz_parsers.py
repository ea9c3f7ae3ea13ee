"""Damaged and made-up files of every format, in this process: text or a ParseError, never anything else.

A seed of each format is cut, repeated and overwritten where hypothesis chooses (in containers a part of it,
packed again); a second target takes made-up bytes under every suffix. `-m soak` gives each many examples.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingesting import tiny_pdf
from parsed import check_ranges
from test_encodings import TEXTS
from test_ocr import as_file, picture
from test_parsers_mail import message, zipped
from test_parsers_office import book, deck, opendocument, workbook
from test_parsers_pdf import BERTHS, page_with, ruled

from ingest.chunking import chunk_document
from ingest.errors import PARSE_CODES, ParseError
from ingest.formats import Format
from ingest.ocr import find_ocr
from ingest.parsers.base import ParsedDocument, assemble
from ingest.parsers.reading import open_source
from ingest.parsers.source import Budget, Context, Source
from ingest.sniff import sniff_stream


def docx_seed() -> bytes:
    body = (
        '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r>'
        "<w:t>One sentence.</w:t></w:r></w:p><w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc>"
        "</w:tr></w:tbl></w:body></w:document>"
    )
    return zipped({"word/document.xml": body.encode()})


DATA = Path(__file__).resolve().parents[1] / "data" / "formats"
SEEDS: dict[str, Callable[[], bytes]] = {
    "a.pdf": lambda: tiny_pdf(["The first page.", "The second page."]),
    "a.docx": docx_seed,
    "a.xlsx": workbook,
    "a.pptx": deck,
    "a.odt": lambda: opendocument(
        "text", "<office:text><text:h>A</text:h><text:p>b<text:s/></text:p></office:text>"
    ),
    "a.epub": book,
    "a.zip": lambda: zipped({"a.txt": b"One sentence.", "b.csv": b"a,b\n1,2\n"}),
    "a.eml": lambda: message(**{"a.csv": b"a,b\n1,2\n"}).as_bytes(),
    "a.mbox": lambda: b"From a@b Thu Jan  1 00:00:00 2026\n" + message().as_bytes(),
    "a.rtf": lambda: (
        rb"{\rtf1\ansi{\info{\title T}}Hello \b w\b0 \u8364? \'e9\par A\cell B\cell\row C\cell D\cell\row}"
    ),
    "a.html": lambda: b"<html><body><h1>A</h1><table><tr><th>a<th>b<tr><td>1<td>2</table><li>x<pre>y</html>",
    "a.md": lambda: b"# A\n\n- one\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\nx\n```\n",
    "a.tex": lambda: (
        rb"\documentclass{a}\title{T}\begin{document}\section{A}B $x$ \item c"
        rb"\begin{tabular}{ll}a & b \\ 1 & 2\end{tabular}\end{document}"
    ),
    "a.rst": lambda: b"A\n=\n\nB *c*.\n\n- d\n\n== ==\nx  y\n== ==\n1  2\n== ==\n\n.. note:: e\n",
    "a.csv": lambda: b'name,amount\n"a, b",3\n"x\ny",4\n',
    "a.json": lambda: json.dumps({"a": [1, {"b": [None, True, "c"]}], "d": {"e": {"f": 1.5}}}).encode(),
    "a.jsonl": lambda: b'{"a": 1}\n{"a": [2, {"b": 3}]}\n',
    "a.ipynb": lambda: json.dumps(
        {"nbformat": 4, "cells": [{"cell_type": "code", "source": ["x"], "outputs": [{"text": "y"}]}]}
    ).encode(),
    "a.xml": lambda: (
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a><title>T</title><d e="f">g&b;</d>h</a>'
    ),
    "a.srt": lambda: (
        b"1\n00:00:01,000 --> 00:00:02,000\nHi <i>there</i>.\n\n2\n00:00:09,000 --> 00:00:10,000\nYes.\n"
    ),
    "a.vtt": lambda: b"WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ann>Hi.\n",
    "a.py": lambda: b"class A:\n    def b(self) -> None:\n        pass\n",
    "a.txt": lambda: b"CHAPTER I\n\nIt rained.\n\n- one\n- two\n",
    "table.pdf": lambda: page_with(ruled(BERTHS)),
    "a.fodt": (DATA / "harbour.fodt").read_bytes,
    "a.odp": (DATA / "harbour.odp").read_bytes,
    "b.rtf": (DATA / "harbour-pandoc.rtf").read_bytes,
    "b.xml": (DATA / "harbour-docbook.xml").read_bytes,
    "b.txt": lambda: (TEXTS["hu"] * 3).encode("cp1250"),
    "c.txt": lambda: (TEXTS["th"] + TEXTS["ru"]).encode("cp874", "ignore"),
    "a.msg": (DATA / "fake-email-attachment.msg").read_bytes,
    "a.png": lambda: as_file(picture(["It rained."]), "PNG"),
}
COSTLY = ("a.msg", "a.png")
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


def read(data: bytes, filename: str) -> ParsedDocument:
    engine = find_ocr("auto", "eng", 60.0)
    context = Context(
        open_source, 200, 2_000_000, engine.folder, engine.languages, budget=Budget(50, 8 << 20)
    )
    return assemble(open_source(Source(filename, data), context))


def words(source: str) -> list[tuple[int, int]]:
    return [(at, at + 1) for at, char in enumerate(source) if not char.isspace()]


def check(data: bytes, filename: str) -> None:
    """Text that holds what every text holds, or one of the refusals.

    What the sandbox's child turns into an answer of its own passes too: depth and memory.
    """
    try:
        document = read(data, filename)
    except ParseError as refusal:
        problem = None if refusal.code in PARSE_CODES and refusal.detail else refusal
        assert problem is None
        return
    except (RecursionError, MemoryError):
        return
    check_ranges(document)
    chunks = chunk_document(document, words, 100)
    assert all(before.end == after.start for before, after in pairwise(chunks))
    assert not chunks or (chunks[0].start, chunks[-1].end) == (0, len(document.text))


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Up to six changes: bytes overwritten, cut out, doubled, or put in."""
    changes = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["over", "cut", "double", "insert"]),
                st.floats(0, 1),
                st.one_of(st.binary(min_size=1, max_size=12), st.sampled_from(TOKENS)),
                st.integers(1, 200),
            ),
            min_size=1,
            max_size=6,
        )
    )

    member = draw(st.integers(0, 30))

    def apply(data: bytes) -> bytes:
        if data.startswith(b"PK") and member % 4:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                parts = {name: archive.read(name) for name in archive.namelist()}
            name = list(parts)[member % len(parts)]
            return zipped(parts | {name: changed(parts[name])})
        return changed(data)

    def changed(data: bytes) -> bytes:
        for kind, place, content, size in changes:
            at = int(place * len(data))
            if kind == "over":
                data = data[:at] + content + data[at + len(content) :]
            elif kind == "cut":
                data = data[:at] + data[at + size :]
            elif kind == "double":
                data = data[:at] + data[at : at + size] * 3 + data[at + size :]
            else:
                data = data[:at] + content * min(size, 20) + data[at:]
        return data

    return apply


TOKENS = [
    b"\x00", b"\xff\xfe", b"\r", b"\n\n", b"{", b"}", b"[", b"<", b"&", b"\\", b'"', b"|", b"%", b"-->",
    b"-1", b"<table>", b"</td>", b"From ", b"9999999999", b"\xf0\x9f\x92\xa9", b"\xed\xa0\x80", b"{\\rtf1",
    b"&#0;", b"xmlns:a=''", b"=?utf-8?q?=ff?=", b".. ", b"|---|", b"PK\x03\x04", b"\\u-99999?",
    b"\\begin{tabular}", b"\\bin999999 ",
]  # fmt: skip


def test_every_format_has_a_seed() -> None:
    seen = {sniff_stream(io.BytesIO(made()), filename).format for filename, made in SEEDS.items()}
    assert seen == set(get_args(Format))


@pytest.mark.parametrize("filename", SEEDS)
def test_damaged_files_give_text_or_a_parse_error(filename: str) -> None:
    seed = SEEDS[filename]()

    few = 15 if filename in COSTLY else 60

    @settings(max_examples=few, deadline=None, suppress_health_check=SLOW, database=None)
    @given(damages())
    def run(damage: Callable[[bytes], bytes]) -> None:
        check(damage(seed), filename)

    check(seed, filename)
    assert read(seed, filename).text.strip()
    run()


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(
    st.one_of(st.binary(max_size=300), st.text(max_size=200).map(str.encode)), st.sampled_from(list(SEEDS))
)
def test_made_up_files_give_text_or_a_parse_error(data: bytes, filename: str) -> None:
    check(data, filename)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("filename", SEEDS)
def test_many_damaged_files_give_text_or_a_parse_error(filename: str) -> None:
    seed = SEEDS[filename]()

    @settings(max_examples=2000, deadline=None, suppress_health_check=SLOW, database=None)
    @given(damages())
    def run(damage: Callable[[bytes], bytes]) -> None:
        check(damage(seed), filename)

    run()
