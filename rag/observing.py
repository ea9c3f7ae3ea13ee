"""Observing: the stages of a search by name, for whoever measures them; without such a one, free."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Observer(Protocol):
    """Is told when a stage begins and ends. Names are few and fixed; nothing of a question is among them."""

    def stage(self, name: str) -> AbstractContextManager[object]:
        """A context that lasts as long as the stage."""
        ...


class _Nobody:
    def stage(self, name: str) -> AbstractContextManager[object]:  # noqa: ARG002
        return _NOTHING


_NOTHING = nullcontext()
NOBODY: Observer = _Nobody()
"""Where nobody looks."""
STAGES = ("filter", "embed", "dense", "lexical", "fuse", "rerank")
"""Of one search, in their order: documents that a filter matches, the question's vector, the two legs of the
index, their order with what the catalogue knows, the best read once more."""
