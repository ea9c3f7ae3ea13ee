"""Logits: what a pass says about the tokens that may follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Logits:
    """Logits of m rows of a pass.

    Attributes:
        values: float32 [m, vocab].
        best: [m], the id of each row's largest, the first of equals, where the pass found it by the way: a
            vocabulary is in the processor's cache once. None where nobody has looked.
    """

    values: Tensor
    best: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.values) if self.best is None else len(self.best)

    def split(self, counts: Sequence[int]) -> list[Logits]:
        """These rows in parts of so many each."""
        if len(counts) == 1:
            return [self]
        parts, end = [], 0
        for values in self.values.split_with_sizes(counts):
            begin, end = end, end + len(values)
            parts.append(Logits(values, self.best and self.best[begin:end]))
        return parts
