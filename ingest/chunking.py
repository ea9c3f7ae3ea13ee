"""Cuts a document into chunks of about equal size that tile its text, at the places where it parts by itself.

The text becomes atoms (headings, sentences, rows, items, code lines); dynamic programming then picks, among
all ways of grouping neighbouring atoms, the one with the least cost: distance from the target size, plus what
each cut breaks, plus what each chunk mixes. So chunks are balanced, and a heading stays with what it heads.
"""

from __future__ import annotations

import bisect
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.headings import Atom, embedding_text, headers_in_force, paths_of
from ingest.parsers.base import HEADER_ROW, Block, ParsedDocument
from rag.sentences import sentence_spans

__all__ = ["OVERSIZE", "Chunk", "TokenSpans", "chunk_document", "embedding_text"]

TokenSpans = Callable[[str], NDArray[np.int64] | Sequence[tuple[int, int]]]
"""Gives where the embedder's tokens start and end in a text, in code points: [tokens, 2]."""

OVERSIZE = 1.25
"""No chunk has more tokens than this times the target, unless a single token has."""

_WINDOW = 50_000  # characters tokenised at once: bounds memory, and white space parts tokens anyway
_MAX_ATOMS = 256  # per chunk: keeps the search linear when every line is one token
_NEVER = 1e6
# What a cut before an atom breaks, in units of the size cost (1 is a chunk of no size at all).
_CUT_HEADING, _CUT_PARAGRAPH, _CUT_ITEM, _CUT_ROW = 0.0, 0.05, 0.08, 0.12
_CUT_LINE, _CUT_AFTER_COLON, _CUT_SENTENCE, _CUT_INSIDE = 0.15, 0.25, 0.3, 0.8
# What a chunk mixes by going on past a heading of level 1 or 2, or of a lower rank.
_MIX_HIGH, _MIX_LOW = 0.6, 0.4


@dataclass(frozen=True, slots=True)
class Chunk:
    """Characters [start, end) of the text; `headings` is the path in force, highest first.

    For a chunk that goes on with a table begun above, the table's header row comes last in `headings`.
    """

    start: int
    end: int
    headings: tuple[str, ...]
    tokens: int


def chunk_document(document: ParsedDocument, tokens: TokenSpans, target_tokens: int = 300) -> list[Chunk]:
    """Chunks of about `target_tokens` that tile `document.text`: first start 0, last end its length, no gap.

    Raises ValueError for a target below 1. An empty text has no chunks.
    """
    if target_tokens < 1:
        raise ValueError(f"target_tokens must be at least 1, not {target_tokens}")
    text = document.text
    if not text:
        return []
    counter = _TokenCounter(text, tokens, document.blocks)
    atoms = _sized(list(_atoms(text, document.blocks)), text, counter, target_tokens)
    ends = [atom.start for atom in atoms[1:]] + [len(text)]
    sizes = [counter.count(atom.start, end) for atom, end in zip(atoms, ends, strict=True)]
    headers = headers_in_force(text, atoms, loose=bool(document.pages))
    firsts = _group(atoms, sizes, [counter.count(*header) for header in headers], target_tokens)
    paths = paths_of(text, atoms, firsts, headers, markdown=document.media_type == "text/markdown")
    chunks: list[Chunk] = []
    for number, (first, path) in enumerate(zip(firsts, paths, strict=True)):
        last = firsts[number + 1] if number + 1 < len(firsts) else len(atoms)
        chunks.append(Chunk(atoms[first].start, ends[last - 1], path, sum(sizes[first:last])))
    return chunks


class _TokenCounter:
    """Where the text's tokens end: counts the tokens of any range by two look-ups."""

    def __init__(self, text: str, tokens: TokenSpans, blocks: Sequence[Block]) -> None:
        self._last = array("q")  # the last character of each token
        starts = [block.start for block in blocks]
        begin = 0
        while begin < len(text):
            end = self._window_end(text, begin, starts)
            spans = np.asarray(tokens(text[begin:end]), dtype=np.int64).reshape(-1, 2)
            self._last.frombytes((spans[spans[:, 1] > spans[:, 0], 1] + (begin - 1)).tobytes())
            begin = end

    @staticmethod
    def _window_end(text: str, begin: int, starts: list[int]) -> int:
        """A place to cut: a block's start, else white space, else anywhere."""
        limit = begin + _WINDOW
        if limit >= len(text):
            return len(text)
        block = bisect.bisect_right(starts, limit) - 1
        if block >= 0 and starts[block] > begin + _WINDOW // 2:
            return starts[block]
        position = limit
        while position > begin + _WINDOW // 2 and not text[position].isspace():
            position -= 1
        return position if text[position].isspace() else limit

    def count(self, start: int, end: int) -> int:
        """Tokens whose last character lies in [start, end)."""
        return bisect.bisect_left(self._last, end) - bisect.bisect_left(self._last, start)

    def ends(self, start: int, end: int) -> Sequence[int]:
        """The ends (exclusive) of the tokens counted in [start, end)."""
        low, high = bisect.bisect_left(self._last, start), bisect.bisect_left(self._last, end)
        return [last + 1 for last in self._last[low:high]]


def _atoms(text: str, blocks: Sequence[Block]) -> Iterator[Atom]:
    """Atoms in order; the first starts at 0, and text that no block covers is taken as paragraphs."""
    at = 0
    started = False
    colon = False  # whether the text before introduces what follows
    previous = ""

    for block in _with_gaps(text, blocks):
        for number, (start, _end) in enumerate(_parts(text, block)):
            if number:
                cut = _CUT_LINE if block.kind == "code" else _CUT_SENTENCE
            elif colon and block.kind != "heading":
                cut = _CUT_AFTER_COLON
            else:
                cut = _opening_cut(block, previous)
            level = block.level or 1 if block.kind == "heading" else 0
            row = 1 + (block.level == HEADER_ROW) if block.kind == "table_row" else 0
            yield Atom(start if started else at, cut, level, row)
            started = True
        previous = block.kind
        colon = block.kind in ("paragraph", "list_item") and text[block.end - 1 : block.end] in (":", "：")
    if not started:
        yield Atom(0, 0.0)


def _opening_cut(block: Block, previous: str) -> float:
    if block.kind == "heading":
        return _CUT_HEADING
    if block.kind == previous == "table_row":
        return _CUT_ROW
    if block.kind == previous == "list_item":
        return _CUT_ITEM
    return _CUT_PARAGRAPH


def _with_gaps(text: str, blocks: Sequence[Block]) -> Iterator[Block]:
    at = 0
    for block in blocks:
        # Rules and the line below a Markdown table's header belong to what is above them.
        if any(map(str.isalnum, text[at : block.start])):
            yield Block("paragraph", at, block.start)
        yield block
        at = block.end
    if text[at:].strip():
        yield Block("paragraph", at, len(text))


def _parts(text: str, block: Block) -> list[tuple[int, int]]:
    """What of a block may be parted: sentences of prose, lines of code; headings, rows stay whole."""
    whole = [(block.start, block.end)]
    if block.kind in ("heading", "table_row"):
        return whole
    if block.kind == "code":
        lines = re.finditer(r"[^\n]*\S[^\n]*", text[block.start : block.end])
        return [(block.start + line.start(), block.start + line.end()) for line in lines] or whole
    if block.kind == "list_item" and block.end - block.start < 400:
        return whole
    return sentence_spans(text, block.start, block.end) or whole


def _sized(atoms: list[Atom], text: str, counter: _TokenCounter, target: int) -> list[Atom]:
    """Parts atoms that are larger than a chunk may be (with the headings above), joins very small ones."""
    limit = _limit(target)
    small = target // 60
    sized: list[Atom] = []
    headings = 0  # tokens of the headings directly above
    for number, atom in enumerate(atoms):
        end = atoms[number + 1].start if number + 1 < len(atoms) else len(text)
        size = counter.count(atom.start, end)
        room = limit - headings if headings < limit // 2 else limit
        if size > room:
            sized.append(atom)
            for start in _inner_cuts(text, (atom.start, end), counter, max(1, min(target, room))):
                sized.append(Atom(start, _CUT_INSIDE, 0, atom.row))
        elif not (_joins(sized, atom, size, small) and counter.count(sized[-1].start, end) <= max(1, small)):
            sized.append(atom)
        headings = headings + size if atom.level and size <= room else 0
    return sized


def _limit(target: int) -> int:
    return max(1, int(target * OVERSIZE))


def _joins(sized: list[Atom], atom: Atom, size: int, small: int) -> bool:
    return (
        bool(sized)
        and not atom.level
        and not sized[-1].level
        and atom.row == sized[-1].row
        and size <= small
        and atom.cut >= _CUT_PARAGRAPH
    )


def _inner_cuts(text: str, span: tuple[int, int], counter: _TokenCounter, target: int) -> list[int]:
    """Where a text without structure is parted: about evenly, after punctuation, white space or a token."""
    end = span[1]
    ends = counter.ends(*span)
    size = len(ends)
    pieces = -(-size // target)
    cuts: list[int] = []
    done = 0  # tokens in finished pieces
    while size - done > target:
        ideal = done + -(-(size - done) // max(1, pieces - len(cuts)))
        ideal = min(max(ideal, done + 1), done + target)
        lowest = max(done + 1, ideal - target // 4)
        best = ideal
        best_rank = 3
        for index in range(ideal, lowest - 1, -1):
            rank = _inner_rank(text, ends[index - 1], end)
            if rank < best_rank:
                best, best_rank = index, rank
            if rank == 0:
                break
        position = _skip_marks(text, ends[best - 1], end, spaces=best_rank < 3)
        if position >= end:
            break
        cuts.append(position)
        done = max(best, bisect.bisect_right(ends, position))
    return cuts


def _inner_rank(text: str, position: int, end: int) -> int:
    """0 after punctuation, 1 at white space, 2 before a letter of a script without spaces, 3 elsewhere."""
    if position < end and text[position].isspace():
        return 0 if text[position - 1] in ",;:、，；：،؛" else 1
    if text[position - 1].isspace():
        return 1
    if text[position - 1] in "、，；：。":
        return 0
    return 2 if position < end and unicodedata.category(text[position]) == "Lo" else 3


def _skip_marks(text: str, position: int, end: int, *, spaces: bool) -> int:
    """Moves past combining marks and joiners (and white space), which belong to what is before them."""
    limit = min(end, position + 64)
    while position < limit and (
        unicodedata.category(text[position]) in ("Mn", "Mc", "Me")
        or text[position] in "\u200c\u200d\ufe0f"
        or (spaces and text[position].isspace())
        or (text[position] == "\n" and text[position - 1] == "\r")
    ):
        position += 1
    return position


def _group(atoms: list[Atom], sizes: list[int], headers: list[int], target: int) -> list[int]:
    """The index of each chunk's first atom, for the grouping of least cost.

    `headers` says how many tokens of a table's header a chunk repeats that begins at an atom.
    """
    limit = _limit(target)
    total = [0]
    mixed = [0.0]  # what going on past the headings up to here would mix
    for number, (atom, size) in enumerate(zip(atoms, sizes, strict=True)):
        total.append(total[-1] + size)
        under_heading = number > 0 and atoms[number - 1].level > 0
        weight = _MIX_HIGH if atom.level <= 2 else _MIX_LOW
        mixed.append(mixed[-1] + (weight if atom.level and not under_heading else 0.0))
    count = len(atoms)
    carried = [min(header, target // 2) for header in headers]
    best = [0.0] * (count + 1)
    origin = [0] * (count + 1)
    for after in range(1, count + 1):
        cut = 0.0
        if after < count:
            cut = _NEVER if atoms[after - 1].level else atoms[after].cut
        lowest_cost = float("inf")
        here, mix = total[after], mixed[after]
        for first in range(after - 1, max(-1, after - 1 - _MAX_ATOMS), -1):
            size = here - total[first] + carried[first]
            if size > limit and first < after - 1:
                break
            short = size / target - 1
            cost = best[first] + short * short * (1.0 if short < 0 else 4.0) + mix - mixed[first + 1]
            if cost < lowest_cost:
                lowest_cost, origin[after] = cost, first
        best[after] = lowest_cost + cut
    firsts: list[int] = []
    position = count
    while position > 0:
        position = origin[position]
        firsts.append(position)
    return firsts[::-1]
