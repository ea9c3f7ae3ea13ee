"""Observing: the stages of a question by name, for whoever measures or traces them; without such, free."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Protocol, TypeAlias

Number: TypeAlias = int | float


class Observer(Protocol):
    """Is told of stages. Names are few and fixed; nothing of a question or a document is among them."""

    def stage(self, name: str) -> AbstractContextManager[object]:
        """A context that lasts as long as the stage."""
        ...

    def took(self, name: str, seconds: float, **numbers: Number) -> None:
        """A stage has just ended, that began so long ago: for what no context can be put around."""
        ...


class _Nobody:
    def stage(self, name: str) -> AbstractContextManager[object]:  # noqa: ARG002
        return _NOTHING

    def took(self, name: str, seconds: float, **numbers: Number) -> None:
        pass


_NOTHING = nullcontext()
NOBODY: Observer = _Nobody()
"""Where nobody looks."""


class Several:
    """Tells several observers."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Each one's context, one in the other."""
        with ExitStack() as stack:
            for observer in self._observers:
                stack.enter_context(observer.stage(name))
            yield

    def took(self, name: str, seconds: float, **numbers: Number) -> None:
        """Each is told."""
        for observer in self._observers:
            observer.took(name, seconds, **numbers)


SEARCH = ("filter", "embed", "dense", "lexical", "fuse", "rerank")
"""Of one search, in their order: documents that a filter matches, the question's vector, the two legs of the
index, their order with what the catalogue knows, the best read once more."""
QUESTION = ("retrieve", "pack", "quote", "verify", "prefill", "answer", "receipts")
"""Of one question: its searches, what is read, the quotes chosen, each compared with the stored text, the
prompt read, the answer written, what each citation is worth."""
