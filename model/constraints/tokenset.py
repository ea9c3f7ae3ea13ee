"""Answers of some tokens only: labels, numbers, the ids of sources."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from model.constraints.base import Ids, TokenSet
from model.errors import ParameterError


class TokenSetConstraint:
    """Every token is one of a set; a stop id may follow the first."""

    finished = False

    def __init__(self, spec: TokenSet, stop_ids: Collection[int], vocab_size: int) -> None:
        """
        Raises:
            ParameterError: an id outside the vocabulary.
        """
        if max(spec.ids) >= vocab_size:
            last = vocab_size - 1
            raise ParameterError(f"the token set holds id {max(spec.ids)}; the vocabulary ends at {last}")
        self._first: Ids = np.array(sorted(set(spec.ids)), dtype=np.int64)
        self._later: Ids = np.array(sorted({*spec.ids, *stop_ids}), dtype=np.int64)
        self._started = False

    def allowed(self) -> Ids:
        return self._later if self._started else self._first

    def advance(self, token: int) -> None:  # noqa: ARG002
        self._started = True

    def forced(self) -> tuple[int, ...]:
        return () if self._started or len(self._first) > 1 else (int(self._first[0]),)
