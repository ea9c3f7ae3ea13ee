"""Answers that quote: contiguous spans of given ranges of the prompt, token by token.

The automaton is not built: its state is where in the ranges the current span may stand, a set of positions
that starts with all of them and shrinks with every token to those that it stands before. A separator may
be text of the ranges too, so what has been written may be read in several ways; all are followed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeAlias

import numpy as np

from model.constraints.base import Ids, Span
from model.errors import ParameterError

_WALL = -1
"""Stands after each range and in place of stop ids: no token is that."""

_Inside: TypeAlias = dict[tuple[int, int], Ids]
"""Ways to read what is written whose end lies in a span: the number of the span and its length so far (as
far as that matters), and the positions that its next token may be taken from."""


class SpanConstraint:
    """Follows every way in which the answer so far is spans of the ranges."""

    def __init__(self, spec: Span, prompt: Sequence[int], stop_ids: Collection[int]) -> None:
        """
        Raises:
            ParameterError: a range ends after the prompt, none holds `min_tokens` tokens, or the separator
                holds a stop id.
        """
        self._spec, self._stops = spec, np.array(sorted(set(stop_ids)), dtype=np.int64)
        if bad := set(spec.separator) & set(stop_ids):
            raise ParameterError(f"the separator of spans holds {min(bad)}, a stop id; leave it out")
        if (end := max(end for _, end in spec.ranges)) > len(prompt):
            raise ParameterError(f"a span range ends at {end}; the prompt has {len(prompt)} tokens")
        pieces = [np.array([*prompt[start:end], _WALL], dtype=np.int64) for start, end in spec.ranges]
        self._text = np.concatenate(pieces)
        self._text[np.isin(self._text, self._stops)] = _WALL
        self._size = max(int(self._text.max()), *spec.separator, 0) + 2
        walls = np.flatnonzero(self._text == _WALL)
        room = walls[np.searchsorted(walls, np.arange(len(self._text)))] - np.arange(len(self._text))
        starts = np.flatnonzero(room >= spec.min_tokens)
        if not len(starts):
            raise ParameterError(
                f"min_tokens of a span is {spec.min_tokens}; the longest range has {room.max()} tokens"
            )
        # Starts in the order of their tokens: those of one token lie together.
        self._starts = starts[np.argsort(self._text[starts], kind="stable")]
        self._start_tokens = self._text[self._starts]
        self._start_ids = self._distinct([self._start_tokens])
        # A length matters until min_tokens, or where there is a limit.
        self._longest = spec.min_tokens if spec.max_tokens is None else spec.max_tokens
        self._inside: _Inside = {}
        # Ways whose end lies in a separator: number of the span before it, separator tokens so far.
        self._between: set[tuple[int, int]] = {(0, len(spec.separator))}
        self._over = False

    @property
    def finished(self) -> bool:
        return self._over or (self._may_end() and not len(self._content()))

    def allowed(self) -> Ids:
        if self._over:
            return self._stops
        content = self._content()
        return np.union1d(content, self._stops) if self._may_end() else content

    def forced(self) -> tuple[int, ...]:
        if self.finished or self._may_end() or len(content := self._content()) != 1:
            return ()
        return (int(content[0]),)

    def advance(self, token: int) -> None:
        if token in self._stops:
            self._over = True
            return
        spec, inside, between = self._spec, _Inside(), set[tuple[int, int]]()
        for (span, length), positions in self._inside.items():
            if self._goes_on(length):
                there = positions[self._text[positions] == token] + 1
                self._merge(inside, (span, min(length + 1, self._longest)), there)
            if self._may_separate(span, length) and token == spec.separator[0]:
                between.add((span, 1))
        for span, done in self._between:
            if done < len(spec.separator):
                if token == spec.separator[done]:
                    between.add((span, done + 1))
                continue
            first, last = np.searchsorted(self._start_tokens, [token, token + 1])
            self._merge(inside, (span + 1, min(1, self._longest)), np.sort(self._starts[first:last]) + 1)
        self._inside, self._between = inside, between

    def _content(self) -> Ids:
        """Ids that go on, without those that end the answer."""
        spec = self._spec
        found: list[Ids] = []
        for (span, length), positions in self._inside.items():
            if self._goes_on(length):
                found.append(self._text[positions])
            if self._may_separate(span, length):
                found.append(np.array(spec.separator[:1], dtype=np.int64))
        for _, done in self._between:
            begins = done == len(spec.separator)
            found.append(self._start_ids if begins else np.array([spec.separator[done]], dtype=np.int64))
        return self._distinct(found)

    def _distinct(self, parts: Sequence[Ids]) -> Ids:
        """The ids in `parts`, ascending, without walls; for many 10 times as fast as `numpy.unique`."""
        there = np.zeros(self._size, dtype=np.bool_)
        for part in parts:
            there[part] = True
        there[_WALL] = False  # the last place, which is no id's
        return np.flatnonzero(there)

    def _goes_on(self, length: int) -> bool:
        return self._spec.max_tokens is None or length < self._spec.max_tokens

    def _may_end(self) -> bool:
        return any(length >= self._spec.min_tokens for _, length in self._inside)

    def _may_separate(self, span: int, length: int) -> bool:
        return length >= self._spec.min_tokens and span < self._spec.max_spans

    @staticmethod
    def _merge(inside: _Inside, key: tuple[int, int], positions: Ids) -> None:
        if len(positions):
            inside[key] = np.union1d(inside[key], positions) if key in inside else positions
