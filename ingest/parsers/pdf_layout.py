"""Lines of a PDF page, with where and how large they stand, to paragraphs, headings, items and table rows."""

from __future__ import annotations

import re
import statistics
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from ingest.parsers.base import HEADER_ROW, BlockKind, ParsedPage
from ingest.parsers.builder import Piece, collapse, essence, join_pieces
from ingest.parsers.hyphens import Vocabulary, join_hyphens

_NUMBER = re.compile(r"[($€£¥]*[-–—]?[($€£¥]*\d[\d.,]*[)%xX]*|[—–-]|[$€£¥%)]|\(?N/?[AM]\)?")
_BULLET = re.compile(r"(?:[•‣◦▪●■○–*-]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)]|\((?:[ivx]{1,4})\))\s+\S")
_STOPS = tuple('.!?:;。！？।॥؟۔”"')
_PRESENTATION = re.compile(r"[\ufb50-\ufdff\ufe70-\ufefc]+")
_DIGITS = re.compile(r"\d+")


@dataclass(slots=True)
class Line:
    """One line of text; distances in points, `size` 0 where the reader does not tell the geometry."""

    text: str
    left: float = 0.0
    right: float = 0.0
    top: float = 0.0
    size: float = 0.0
    bold: bool = False
    italic: bool = False
    row: int = 0  # of a ruled table: 1 a row, 2 a first row that reads like names of columns
    columns: tuple[int, ...] = ()  # where the lines between the columns of its table stand


@dataclass(slots=True)
class LayoutState:
    """What earlier pages taught: the size of body text, words in use, and lines that come on every page."""

    sizes: Counter[float] = field(default_factory=Counter)
    words: Vocabulary = field(default_factory=Vocabulary)
    edges: Counter[str] = field(default_factory=Counter)
    cover: bool = False  # the page at hand is the first of many: its large lines head nothing
    outline: list[tuple[str, int]] = field(default_factory=list)  # titles that the outline sets on the page
    depth: int = 0  # rank of the last heading that the outline names
    columns: tuple[int, ...] = ()  # of the last ruled table
    named: str = ""  # its header row

    def preview(self, lines: list[Line]) -> None:
        """Learns sizes and words of a page before its turn."""
        self._learn_sizes(lines)
        self.words.note(lines)

    def learn(self, lines: list[Line]) -> float:
        """Takes the lines of one more page into account. The size of its body text: that of the page where it
        has a body of its own, or the one most text of the document is set in."""
        here = self._learn_sizes(lines)
        for line in {id(line): line for line in lines[:5] + lines[-5:]}.values():
            self.edges[_edge_key(line.text)] += 1
        if here:
            size, characters = here.most_common(1)[0]
            if size and characters > 400 and characters > here.total() / 2:
                return size
        return self.sizes.most_common(1)[0][0] if self.sizes else 0.0

    def _learn_sizes(self, lines: list[Line]) -> Counter[float]:
        here: Counter[float] = Counter()
        for line in lines:
            here[round(line.size * 2) / 2] += len(line.text)
        for size, characters in here.items():
            if size:
                self.sizes[size] += characters
        return here


def _edge_key(text: str) -> str:
    return _DIGITS.sub("0", text)[:80]


def build_page(lines: list[Line], state: LayoutState) -> ParsedPage:
    """The text and blocks of one page. `state` is updated by it."""
    lines = join_hyphens([line for line in lines if line.text.strip()], state.words)
    for line in lines:
        if not line.text.isascii():
            line.text = _PRESENTATION.sub(_plain_letters, line.text)
        line.text = collapse(line.text, keep_breaks=False)
    lines = [line for line in lines if line.text]
    _rank_rows(lines, state)
    body = state.learn(lines)
    kinds = [_kind(line, state, body) for line in lines]
    pitch = _usual_pitch(lines)
    pieces: list[Piece] = []
    group: list[Line] = []
    group_kind: tuple[BlockKind, int] = ("paragraph", 0)
    for line, kind in zip(lines, kinds, strict=True):
        if group and _breaks(group[-1], line, group_kind, kind, pitch):
            pieces.append(_piece(group, group_kind))
            group = []
        if not group:
            group_kind = kind
        group.append(line)
    if group:
        pieces.append(_piece(group, group_kind))
    return join_pieces(pieces)


def _rank_rows(lines: list[Line], state: LayoutState) -> None:
    """Tells first rows that are headers from those of tables that go on from the page before."""
    for number, line in enumerate(lines):
        if line.row == 2:
            goes_on = number <= _RUNNING_LINES and line.columns == state.columns
            if goes_on and line.text != state.named:
                line.row = 1
            else:
                state.named = line.text
        if line.row:
            state.columns = line.columns


_RUNNING_LINES = 3


def _plain_letters(match: re.Match[str]) -> str:
    """Arabic presentation forms are glyph shapes; the letters are what people search for."""
    return unicodedata.normalize("NFKC", match.group())


def _kind(line: Line, state: LayoutState, body: float) -> tuple[BlockKind, int]:
    if line.row:
        return "table_row", HEADER_ROW if line.row == 2 else 0
    text = line.text
    level = _heading_level(line, state, body)
    if state.outline:
        named = essence(text)
        for entry in state.outline:
            if entry[0] == named:
                state.outline.remove(entry)
                state.depth = entry[1]
                return "heading", entry[1]
    if level and state.depth:
        level = max(level, state.depth + 1)
    if _BULLET.match(text) and not level:
        return "list_item", 0
    if names_periods(text):
        return "table_row", HEADER_ROW
    if is_table_row(text):
        return "table_row", 0
    return ("heading", level) if level else ("paragraph", 0)


def is_table_row(text: str) -> bool:
    """Whether a line reads like a row of a table of numbers: a label, then mostly figures."""
    if len(_DIGITS.findall(text)) < 2 or text.endswith((".", ";")):
        return False
    tokens = text.split()
    if len(tokens) < 3:
        return False
    if not (_NUMBER.fullmatch(tokens[-1]) and _NUMBER.fullmatch(tokens[-2])):
        figures = sum(1 for token in tokens if _NUMBER.fullmatch(token))
        if figures < len(tokens) * 0.5:
            return False
    return sum(1 for token in tokens if any(map(str.isdigit, token))) >= 2


def names_periods(text: str) -> bool:
    """Whether a line names the columns of a table of numbers: it ends with two years or two dates."""
    return len(text) <= 150 and text[-1:].isdigit() and bool(_PERIODS.search(text))


_PERIODS = re.compile(
    r"(?:(?:^|\s)(?:FY\s?)?(?:19|20)\d\d){2,}$"
    r"|(?:(?:^|\s)(?:[A-Z][a-z]{2,8}\.? \d{1,2},? |Q[1-4] )(?:19|20)\d\d){2,}$"
)


def _heading_level(line: Line, state: LayoutState, body: float) -> int:
    """1 to 6 by size and style relative to the body text; 0 for text that is no heading."""
    if not body or not line.size or len(line.text) > 120:
        return 0
    level = _level_of_style(line, state, line.size / body)
    # Most lines are body text by their style: what costs more is asked of the others only.
    return level if level and _reads_like_heading(line.text, state) else 0


def _level_of_style(line: Line, state: LayoutState, ratio: float) -> int:
    for level, bound in ((1, 1.75), (2, 1.4), (3, 1.15)):
        if ratio >= bound:
            return 5 if state.cover else level
    if ratio < 0.95 or not (line.text[0].isupper() or line.text[0].isdigit()):
        return 0
    if line.bold:
        return 4 if line.text.isupper() and not state.cover else 5
    return 6 if line.italic and len(line.text) <= 80 else 0


def _reads_like_heading(text: str, state: LayoutState) -> bool:
    letters = sum(c.isalpha() for c in text)
    if letters < 3 or letters < len(text) * 0.5 or text.endswith((".", ",", ";")):
        return False
    return state.edges[_edge_key(text)] <= 2 and not is_table_row(text)


def _usual_pitch(lines: list[Line]) -> float:
    """The median distance between lines that follow each other downwards."""
    steps = [a.top - b.top for a, b in pairwise(lines) if a.size and 0 < a.top - b.top < 4 * a.size]
    return statistics.median(steps) if steps else 0.0


def _breaks(
    above: Line, line: Line, group: tuple[BlockKind, int], kind: tuple[BlockKind, int], pitch: float
) -> bool:
    """Whether a new block starts at `line`."""
    headings = (group[0] == "heading", kind[0] == "heading")
    if kind[0] in ("list_item", "table_row") or group[0] == "table_row":
        return True
    if headings[0] != headings[1] or (headings[1] and group != kind):
        return True
    return bool(line.size and above.size) and _gap_breaks(above, line, pitch)


def _gap_breaks(above: Line, line: Line, pitch: float) -> bool:
    step = above.top - line.top
    ended = above.text.endswith(_STOPS)
    if step < -0.5 * line.size:  # the next column, or a box further up
        return ended or not line.text[:1].islower()
    if pitch and step > max(1.35 * pitch, 1.15 * line.size):
        return True
    if abs(above.size - line.size) > 0.15 * max(above.size, line.size):
        return True
    return ended and line.left > above.left + 0.8 * line.size


def _piece(group: list[Line], kind: tuple[BlockKind, int]) -> Piece:
    return Piece(kind[0], "\n".join(line.text for line in group), kind[1])
