"""What is measured: one definition of each metric, for the command and for the benchmarks.

The standard measures of retrieval come from ir-measures (trec_eval's own code).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import ir_measures
from ir_measures import RR, nDCG

CUTS = (1, 4, 10)
"""The ranks at which retrieval is measured."""

PAGE_SHARE = 0.5
"""A page counts as read from half of its characters on: a pack that holds its last line does not hold it."""


@dataclass(frozen=True)
class Place:
    """A range of code points of a document; `page` says that it is a whole page, not a passage."""

    document: str
    start: int
    end: int
    page: bool = False


def normalised(text: str) -> str:
    """Text as it is compared: compatibility forms, case and white space apart."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def holds(text: str, answers: Sequence[str]) -> bool:
    """Whether an accepted answer stands in the text, compatibility forms, case and white space apart."""
    flat = normalised(text)
    return any(answer in flat for answer in map(normalised, answers) if answer)


def touches(place: Place, other: Place) -> bool:
    """Whether two ranges of a document have a character in common."""
    return place.document == other.document and place.start < other.end and other.start < place.end


def first_ranks(gold: Sequence[Place], found: Sequence[Place]) -> list[int | None]:
    """The rank, from 1, of the first result that touches each gold place; None where none does."""
    return [
        next((rank for rank, place in enumerate(found, start=1) if touches(place, want)), None)
        for want in gold
    ]


def found_at(ranks: Sequence[int | None], cut: int, *, every: bool) -> bool:
    """Whether the evidence is in the first `cut` results: each place of it (`every`), or one.

    False where there is no gold place.
    """
    hits = [rank is not None and rank <= cut for rank in ranks]
    return bool(hits) and (all(hits) if every else any(hits))


def found_rank(ranks: Sequence[int | None], *, every: bool) -> int | None:
    """The smallest cut at which `found_at` holds; None where there is none."""
    known = [rank for rank in ranks if rank is not None]
    if not known or (every and len(known) < len(ranks)):
        return None
    return max(known) if every else min(known)


def packed(gold: Sequence[Place], read: Iterable[Place], *, every: bool) -> bool:
    """Whether what was read holds the evidence: each place of it (`every`), or one.

    A passage must be there in full; of a page, `PAGE_SHARE` of its characters. Ranges that meet count as one.
    """
    ranges = list(read)
    hits = []
    for want in gold:
        share = _covered(want, ranges) / max(want.end - want.start, 1)
        hits.append(share >= (PAGE_SHARE if want.page else 1.0))
    return bool(hits) and (all(hits) if every else any(hits))


def _covered(want: Place, ranges: Iterable[Place]) -> int:
    inside = sorted(
        (max(each.start, want.start), min(each.end, want.end)) for each in ranges if touches(each, want)
    )
    total, at = 0, want.start
    for start, end in inside:
        total += max(0, end - max(start, at))
        at = max(at, end)
    return total


def ranking(grades: Sequence[int], missed: int = 0) -> tuple[float, float]:
    """nDCG@10 and reciprocal rank at 10 of results with these grades, best first.

    `missed` relevant items of grade 1 were not found at all. By ir-measures, with linear gains and log2
    discounts (Järvelin and Kekäläinen 2002).
    """
    qrels = {f"r{rank}": grade for rank, grade in enumerate(grades) if grade}
    qrels |= {f"m{number}": 1 for number in range(missed)}
    if not qrels:
        return 0.0, 0.0
    run = {f"r{rank}": float(len(grades) - rank) for rank in range(len(grades))} or {"nothing": 0.0}
    values = ir_measures.calc_aggregate([nDCG @ 10, RR @ 10], {"q": qrels}, {"q": run})
    return float(values[nDCG @ 10]), float(values[RR @ 10])


def passage_ranking(gold: Sequence[Place], found: Sequence[Place], *, every: bool) -> tuple[float, float]:
    """nDCG@10 and reciprocal rank at 10 where relevance is a place in a text.

    A result is worth the gold places that no earlier one touched. With `every` False the places are
    alternatives, and count as one.
    """
    ranks = first_ranks(gold, found)
    if not every:
        ranks = [found_rank(ranks, every=False)]
    grades = [sum(rank == place for rank in ranks) for place in range(1, len(found) + 1)]
    return ranking(grades, sum(rank is None for rank in ranks))


def exact(stored: str, start: int, end: int, quoted: str) -> bool:
    """Whether a quote is, character by character, the stored text from `start` to `end`, and is not empty."""
    return stored[start:end] == quoted != ""
