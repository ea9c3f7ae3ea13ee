"""Speculation without a second model: guess that the answer goes on as its context did, and check.

A draft is what followed the last few tokens where they stood before (prompt lookup, Saxena 2023). All its
positions go through the model in one pass, which on most machines costs little more than a single row. The
sampler then draws at every row as it would have without a draft, and the rows count for as long as what it
drew is what was guessed. So nothing is approximated: greedy or sampled, it is the same token from the same
distribution, with the same draws of the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.request import Request

_LONGEST, _SHORTEST = 4, 2
"""Tokens that have to recur for a guess; the longest recurrence is taken."""

_MARGIN = 1.3
"""By how much the gain of a guess has to exceed its cost: the line bends upwards with many rows."""

MOST = 15
"""Longest draft: with the row before it, half of a pass of few rows."""


class Drafter:
    """Looks up drafts in the tokens of one request, and keeps count of how many were right."""

    def __init__(self) -> None:
        # Where, by its n tokens, an n-gram that is followed by something stood last: the position after it.
        self._seen: dict[tuple[int, ...], int] = {}
        self._indexed = 0
        # One right guess in two before anything is known.
        self._guessed, self._right = 2.0, 1.0

    @property
    def chance(self) -> float:
        """Estimated probability that a guessed token is right."""
        return self._right / self._guessed

    def draft(self, tokens: Sequence[int], most: int) -> tuple[int, ...]:
        """At most `most` guesses of what follows `tokens`; empty where their end has not occurred before."""
        for end in range(max(self._indexed, _SHORTEST), len(tokens)):
            for size in range(_SHORTEST, min(_LONGEST, end) + 1):
                self._seen[tuple(tokens[end - size : end])] = end
        self._indexed = max(self._indexed, len(tokens))
        for size in range(_LONGEST, _SHORTEST - 1, -1):
            at = self._seen.get(tuple(tokens[-size:]))
            if at is not None:
                return tuple(tokens[at : at + most])
        return ()

    def rest(self) -> None:
        """Take note of a step without a draft: what made guessing vain may be over after a while."""
        self._guessed = 0.98 * self._guessed + 0.04
        self._right = 0.98 * self._right + 0.02

    def learn(self, guessed: int, right: int) -> None:
        """Take note that of `guessed` tokens the first `right` were so; older counts fade."""
        tried = min(guessed, right + 1)
        self._guessed = 0.9 * self._guessed + tried
        self._right = 0.9 * self._right + right


class StepTimes:
    """What a pass of few rows takes, as measured: a line fitted through the passes so far.

    time = fixed + each · rows, by least squares with weights that fade by 2 % a pass.
    """

    def __init__(self) -> None:
        self._weight = self._rows = self._rows2 = self._time = self._product = 0.0

    def note(self, rows: int, seconds: float) -> None:
        """Take note of one pass."""
        fade = 0.98
        self._weight = fade * self._weight + 1
        self._rows = fade * self._rows + rows
        self._rows2 = fade * self._rows2 + rows * rows
        self._time = fade * self._time + seconds
        self._product = fade * self._product + rows * seconds

    def line(self) -> tuple[float, float]:
        """`fixed` and `each`, seconds. Before passes of different sizes were seen, each is 5 % of a pass."""
        if not self._weight:
            return 1.0, 0.05
        mean_rows, mean_time = self._rows / self._weight, self._time / self._weight
        spread = self._rows2 / self._weight - mean_rows**2
        each = mean_time / 20
        if spread > 0.1:
            each = max(0.0, (self._product / self._weight - mean_rows * mean_time) / spread)
        return max(mean_time - each * mean_rows, 0.0), each

    def draft_length(self, streams: int, chance: float, most: int) -> int:
        """How many guesses pay in a step of so many streams.

        Guess i is right with chance^i and saves that share of the time that a token costs now; its row costs
        `each`.
        """
        fixed, each = self.line()
        token = (fixed + each * streams) / streams
        length, right = 0, chance
        while length < most and right * token > _MARGIN * each:
            length += 1
            right *= chance
        return length


def drafts(times: StepTimes) -> Callable[[Request, int], tuple[int, ...]]:
    """The scheduler's source of drafts: prompt lookup, as long as it pays by the measured times."""

    def draft(request: Request, streams: int) -> tuple[int, ...]:
        drafter, generation = request.drafter, request.generation
        if drafter is None or generation is None:
            return ()
        most = min(MOST, generation.limit - generation.count - 1)
        if most > 0 and (forced := generation.forced()):
            return forced[:most]
        length = times.draft_length(streams, drafter.chance, most)
        if length <= 0:
            drafter.rest()
            return ()
        return drafter.draft(request.tokens, length)

    return draft
