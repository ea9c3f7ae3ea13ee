"""PPTX: a page for every slide, its title as heading; tables, charts, SmartArt's text and notes.

Read by python-pptx from a copy of the container that holds its XML parts only: pictures and videos are
neither unpacked nor followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ingest.errors import ParseError
from ingest.parsers.base import ParsedPage, Reading
from ingest.parsers.builder import Piece, collapse, mark_header, row_of
from ingest.parsers.containers import Container, container_errors, local
from ingest.parsers.joiner import Joiner
from ingest.parsers.source import Context, Source

_MAX_DEPTH = 20
_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.presentationml.presentation"


def read(source: Source, context: Context) -> Reading:
    """A reading with one page a slide. Raises ParseError: `corrupt`, `too_large`, `encrypted`."""
    import pptx  # noqa: PLC0415

    with container_errors("PPTX"):
        with source.open() as file:
            slim = Container(file, "PPTX").slim(lambda name: name.endswith((".xml", ".rels")))
        try:
            deck = pptx.Presentation(slim)
            slides = list(deck.slides)
        except (ParseError, MemoryError, RecursionError):
            raise
        except Exception as error:  # the library raises what it comes upon
            raise ParseError(
                "corrupt", f"The PPTX is not built as one ({type(error).__name__}). Save it again."
            ) from error
    if len(slides) > context.max_pages:
        raise ParseError(
            "too_large", f"The presentation has {len(slides)} slides, the limit is {context.max_pages}."
        )
    title = collapse(_quietly(lambda: deck.core_properties.title) or "", keep_breaks=False)[:300]
    junk = title.lower() in ("", "powerpoint presentation", "powerpoint-präsentation")
    return Reading(_MEDIA_TYPE, None if junk else title, len(slides), map(_slide, slides))


def _quietly(get: Any) -> Any:
    """A courtesy of the file: None where it is broken."""
    try:
        return get()
    except (MemoryError, RecursionError):
        raise
    except Exception:
        return None


def _slide(slide: Any) -> ParsedPage:
    joiner = Joiner()
    title = _quietly(lambda: slide.shapes.title)
    if title is not None:
        joiner.heading(collapse(title.text_frame.text, keep_breaks=False), 1)
    rest = [shape for shape in slide.shapes if title is None or shape.shape_id != title.shape_id]
    for shape in sorted(rest, key=_place):
        joiner.pieces(_shape(shape, 0))
    if _quietly(lambda: slide.has_notes_slide):
        frame = _quietly(lambda: slide.notes_slide.notes_text_frame)
        if frame is not None and frame.text.strip():
            joiner.heading("Notes", 2)
            joiner.pieces(_paragraphs(frame))
    return joiner.done()


def _place(shape: Any) -> tuple[int, int]:
    """Reading order: rows of a quarter inch (914,400 units are an inch), then left to right."""
    return ((_quietly(lambda: shape.top) or 0) // 228_600, _quietly(lambda: shape.left) or 0)


def _shape(shape: Any, depth: int) -> Iterator[Piece]:
    if depth > _MAX_DEPTH:
        return
    if hasattr(shape, "shapes"):  # a group
        for inner in sorted(shape.shapes, key=_place):
            yield from _shape(inner, depth + 1)
    elif getattr(shape, "has_table", False):
        yield from _table(shape.table)
    elif getattr(shape, "has_chart", False):
        yield from _quietly(lambda: list(_chart(shape.chart))) or []
    elif getattr(shape, "has_text_frame", False):
        yield from _paragraphs(shape.text_frame)
    else:
        yield from _diagram(shape)


def _paragraphs(frame: Any) -> Iterator[Piece]:
    for paragraph in frame.paragraphs:
        text = collapse(paragraph.text.replace("\v", "\n"))
        if not text:
            continue
        properties = paragraph._p.pPr  # bullets are not in the library's own interface
        kinds = {local(child) for child in properties} if properties is not None else set()
        listed = paragraph.level > 0 or bool(kinds & {"buChar", "buAutoNum", "buBlip"})
        yield Piece("list_item", text, paragraph.level + 1) if listed else Piece("paragraph", text)


def _table(table: Any) -> list[Piece]:
    pieces: list[Piece] = []
    for number, row in enumerate(table.rows):
        texts = [
            "" if cell.is_spanned else collapse(cell.text_frame.text, keep_breaks=False) for cell in row.cells
        ]
        pieces += row_of(texts, header=number == 0 and bool(table.first_row) and len(texts) > 1)
    mark_header(pieces)
    return pieces


def _chart(chart: Any) -> Iterator[Piece]:
    """A chart's title, and its numbers as a table: a row for each category."""
    if chart.has_title and chart.chart_title.has_text_frame:
        yield Piece("paragraph", collapse(chart.chart_title.text_frame.text, keep_breaks=False))
    for plot in chart.plots:
        series = list(plot.series)
        names = [collapse(str(one.name), keep_breaks=False) for one in series]
        yield from row_of(["", *names], header=True)
        for number, category in enumerate(plot.categories):
            values = [one.values[number] if number < len(one.values) else None for one in series]
            label = collapse(str(category), keep_breaks=False)
            yield from row_of([label, *("" if value is None else f"{value:.15g}" for value in values)])


def _diagram(shape: Any) -> Iterable[Piece]:
    """SmartArt keeps its text in a part of its own."""
    frame = shape._element  # the library knows no diagrams
    for element in frame.iter():
        if local(element) == "relIds":
            for key, value in element.attrib.items():
                if key.rpartition("}")[2] == "dm":
                    yield from _quietly(lambda: _points(shape.part.related_part(value))) or []  # noqa: B023


def _points(part: Any) -> list[Piece]:
    from lxml import etree  # noqa: PLC0415

    from ingest.parsers.containers import safe_parser  # noqa: PLC0415

    pieces: list[Piece] = []
    for element in etree.fromstring(part.blob, safe_parser()).iter():
        if local(element) == "p":
            text = collapse("".join(run.text or "" for run in element.iter() if local(run) == "t"))
            pieces += [Piece("list_item", text, 1)] if text else []
    return pieces
