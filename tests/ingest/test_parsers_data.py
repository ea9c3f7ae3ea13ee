"""Delimited text, JSON, XML, notebooks, subtitles, code, LaTeX, reStructuredText and RTF."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from parsed import check_ranges, found, headers, parse_bytes

from ingest.errors import ParseError


@pytest.mark.parametrize(
    ("filename", "source", "kind"),
    [
        ("a.csv", 'City,Rain\r\n"Bonn, am Rhein",30\r\n"two\nlines",4\r\n', "text/csv"),
        ("a.csv", "City;Rain\nBonn;30,5\nKöln;4\n", "text/csv"),
        ("a.tsv", "City\tRain\nBonn\t30\nKöln\t4\n", "text/tab-separated-values"),
        ("table.txt", "City\tRain\tDays\nBonn\t30\t2\nKöln\t4\t1\n", "text/tab-separated-values"),
    ],
)
def test_delimited_text_stays_and_has_a_header(tmp_path: Path, filename: str, source: str, kind: str) -> None:
    document = parse_bytes(tmp_path, source.encode(), filename)
    check_ranges(document)
    assert (document.text, document.media_type) == (source, kind)
    assert [header[:4] for header in headers(document)] == ["City"]
    assert len(found(document, "table_row")) == 3


def test_prose_with_commas_is_no_table(tmp_path: Path) -> None:
    source = "First, it rained, hard.\nThen, at noon, it stopped.\nLater, it rained, again.\n"
    assert found(parse_bytes(tmp_path, source.encode(), "story.txt"), "table_row") == []


def test_a_table_of_figures_alone_has_no_header(tmp_path: Path) -> None:
    assert headers(parse_bytes(tmp_path, b"1,2\n3,4\n5,6\n", "a.csv")) == []


def test_json_is_lines_under_its_names(tmp_path: Path) -> None:
    value = {
        "name": "Acme",
        "tags": ["x", "y"],
        "office": {"city": "Bonn"},
        "items": [{"sku": "a"}, {"sku": "b"}],
    }
    source = json.dumps(value).replace('"Acme"', '"Acme", "n": 1.50, "big": 12345678901234567890123')
    document = parse_bytes(tmp_path, source.encode(), "a.json")
    check_ranges(document)
    assert document.media_type == "application/json"
    assert found(document, "heading") == ["office", "items"]
    assert "name: Acme\nn: 1.50\nbig: 12345678901234567890123\ntags: x, y" in document.text
    assert found(document, "code")[-2:] == ["sku: a", "sku: b"]


def test_json_lines_are_records(tmp_path: Path) -> None:
    document = parse_bytes(tmp_path, b'{"a": 1}\n{"a": 2}\n\n{"a": 3}\n', "log")
    assert document.media_type == "application/jsonl"
    assert found(document, "code") == ["a: 1", "a: 2", "a: 3"]


@pytest.mark.parametrize("source", ['{"a": 1,}', "{'a': 1}", "[1, 2"])
def test_what_is_called_json_and_is_none_stays_text(tmp_path: Path, source: str) -> None:
    document = parse_bytes(tmp_path, source.encode(), "a.json")
    assert (document.text, document.media_type) == (source, "text/plain")


def test_json_nested_without_measure_is_bounded(tmp_path: Path) -> None:
    for source in ("[" * 100_000, '{"a":' * 900 + "1" + "}" * 900):
        assert len(parse_bytes(tmp_path, source.encode(), "a.json").text) < 1_000_000


def test_a_notebook_is_its_cells(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Rain\n", "\n", "It rains."]},
        {"cell_type": "code", "source": "print(1)", "outputs": [{"output_type": "stream", "text": ["1\n"]}]},
        {
            "cell_type": "code",
            "source": "x",
            "outputs": [{"data": {"text/plain": "42", "image/png": "iVBOR"}}],
        },
    ]
    source = json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}})
    document = parse_bytes(tmp_path, source.encode(), "a.ipynb")
    check_ranges(document)
    assert (document.media_type, document.title) == ("application/x-ipynb+json", "Rain")
    assert found(document, "code") == ["print(1)", "1", "x", "42"]
    assert "iVBOR" not in document.text


def test_xml_is_records_and_prose_and_resolves_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the secret")
    source = (
        f'<?xml version="1.0"?><!DOCTYPE c [<!ENTITY f SYSTEM "file://{tmp_path}/secret"><!ENTITY a "aaaa">'
        '<!ENTITY b "&a;&a;&a;&a;">]><c><title>Books</title><book id="7"><name>Rain &f;&b;</name>'
        "<price>3</price></book><para>Long <b>mixed</b> text.</para></c>"
    )
    document = parse_bytes(tmp_path, source.encode(), "a.xml")
    check_ranges(document)
    assert document.title == "Books"
    assert found(document, "paragraph") == ["Long mixed text."]
    assert "book id: 7\nname: Rain" in document.text
    assert "price: 3" in document.text
    assert "secret" not in document.text.replace("/secret", "")
    assert "aaaa" not in document.text


def test_xml_nested_without_measure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParseError) as caught:
        parse_bytes(tmp_path, b"<?xml version='1.0'?>" + b"<a>" * 50_000, "a.xml")
    assert caught.value.code == "corrupt"


def test_subtitles_are_what_is_said_with_its_time(tmp_path: Path) -> None:
    srt = (
        "1\r\n00:00:01,000 --> 00:00:03,000\r\n<i>Hello</i> there.\r\n\r\n"
        "2\r\n00:00:03,500 --> 00:00:05,000\r\nHow are you?\r\n\r\n"
        "3\r\n00:01:00,000 --> 00:01:05,000\r\nLater.\r\n"
    )
    document = parse_bytes(tmp_path, srt.encode(), "talk")
    assert document.text == "[00:00:01] Hello there. How are you?\n\n[00:01:00] Later."
    vtt = "WEBVTT\n\nNOTE hidden\n\n00:01.000 --> 00:03.000\n<v Ann>Hello.\n\n"
    vtt += "id\n00:03.500 --> 00:05.000\nHi.\n"
    document = parse_bytes(tmp_path, vtt.encode(), "a.vtt")
    assert (document.text, document.media_type) == ("[00:00:01] Ann: Hello. Hi.", "text/vtt")


def test_source_code_stays_and_its_symbols_are_headings(tmp_path: Path) -> None:
    source = "import os\n\n\nclass Rain:\n    def fall(self, how: int) -> None:\n        go()\n"
    document = parse_bytes(tmp_path, source.encode(), "rain.py")
    check_ranges(document)
    assert document.text == source
    assert found(document, "heading") == ["class Rain:", "def fall(self, how: int) -> None:"]
    c = "#include <x.h>\nint main(int argc, char **argv) {\n    if (argc) {\n    }\n    return f(1);\n}\n"
    assert found(parse_bytes(tmp_path, c.encode(), "a.c"), "heading") == ["int main(int argc, char **argv) {"]


def test_latex_is_its_text_and_includes_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret.tex").write_text("the secret")
    source = rf"""\documentclass{{article}} % a remark
\title{{On {{\em Rain}}}}
\begin{{document}}\maketitle
\section{{Intro\-duction}}
It rains in M\"unchen, $x^2$ times, 50\% of the year.

\begin{{itemize}}\item first \item second\end{{itemize}}
\input{{{tmp_path}/secret}}
\begin{{tabular}}{{|l|r|}}\hline City & mm \\ \hline Bonn & 30 \\ \end{{tabular}}
\begin{{verbatim}}x = 1\end{{verbatim}}
\end{{document}}"""
    document = parse_bytes(tmp_path, source.encode(), "a.tex")
    check_ranges(document)
    assert document.title == "On Rain"
    assert found(document, "paragraph") == ["It rains in München, $x^2$ times, 50% of the year."]
    assert found(document, "list_item") == ["first", "second"]
    assert found(document, "table_row") == ["City | mm", "Bonn | 30"]
    assert found(document, "code") == ["x = 1"]
    assert "secret" not in document.text
    assert "remark" not in document.text


def test_restructured_text_includes_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the secret")
    source = (
        f"Guide\n=====\n\nIntro *text*.\n\nSetup\n-----\n\n- one\n\n.. include:: {tmp_path}/secret\n\n"
        f".. raw:: html\n   :file: {tmp_path}/secret\n\n.. csv-table::\n   :file: {tmp_path}/secret\n\n"
        "=====  =====\nCity   Rain\n=====  =====\nBonn   30\n=====  =====\n\n::\n\n  code here\n"
    )
    document = parse_bytes(tmp_path, source.encode(), "a.rst")
    check_ranges(document)
    assert document.title == "Guide"
    assert found(document, "heading") == ["Guide", "Setup"]
    assert headers(document) == ["City | Rain"]
    assert found(document, "code") == ["code here"]
    assert "the secret" not in document.text


def test_rtf_is_its_text_and_rows(tmp_path: Path) -> None:
    source = (
        rb"{\rtf1\ansi\ansicpg1251{\info{\title Letter}}{\*\generator X}"
        rb"Hello \b world\b0 \u8364? \'cf\'f0\'e8\par "
        rb"{\object{\*\objdata 0105}}\trowd City\cell mm\cell\row\trowd Bonn\cell 30\cell\row End.}"
    )
    document = parse_bytes(tmp_path, source, "a.doc")
    check_ranges(document)
    assert (document.title, document.media_type) == ("Letter", "application/rtf")
    assert "Hello world€ При" in document.text
    assert headers(document) == ["City | mm"]
    assert "0105" not in document.text
