"""Near-duplicates: passages that say the same as one that is read already.

Two versions of one rule that differ in a figure or a name are no duplicates: a reader must see both to know
that they disagree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rag.names import names
from rag.passages import Passage, touching

NEAR_DUPLICATE = 0.85
"""Share of a passage's shingles found in another passage from which the two count as the same."""

_SHINGLE = 8
_SKETCH = 24
_FIGURE = re.compile(r"\d+(?:[.,]\d+)*")


def shingles(text: str) -> frozenset[int]:
    """Hashes of all runs of 8 characters, case and white space folded: works in scripts without spaces.

    The hash is Python's own of a string and differs between processes: it is for comparing, not for storing.
    """
    return frozenset(map(hash, _runs(text)))


def containment(part: frozenset[int], whole: frozenset[int]) -> float:
    """Share of `part` that is in `whole` (Broder 1997)."""
    return len(part & whole) / len(part) if part else 0.0


def says_more(passage: str, than: str) -> bool:
    """Whether a text has a figure or a name that the other has not."""
    if set(_FIGURE.findall(passage)) - set(_FIGURE.findall(than)):
        return True
    known = than.casefold()
    return any(name.casefold() not in known for name, _ in names(passage))


@dataclass
class Seen:
    """The passages that are read, so that what says the same can be told."""

    _seen: list[tuple[Passage, frozenset[int]]] = field(default_factory=list)

    def add(self, passage: Passage) -> None:
        """Note a passage that is read."""
        self._seen.append((passage, shingles(passage.text)))

    def twin_of(self, passage: Passage) -> Passage | None:
        """What is read and says the same elsewhere; overlaps of one text are merged, not twins."""
        runs = _runs(passage.text)
        # Most pairs have nothing in common: some shingles, evenly spread, show it at little cost.
        sketch = [hash(run) for run in runs[:: max(1, len(runs) // _SKETCH)]]
        mine: frozenset[int] | None = None
        for other, theirs in self._seen:
            if 2 * sum(each in theirs for each in sketch) < len(sketch) or touching(passage, other):
                continue
            mine = shingles(passage.text) if mine is None else mine
            if containment(mine, theirs) >= NEAR_DUPLICATE and not says_more(passage.text, other.text):
                return other
        return None


def _runs(text: str) -> list[str]:
    folded = " ".join(text.casefold().split())
    return [folded[i : i + _SHINGLE] for i in range(max(1, len(folded) - _SHINGLE + 1))]
