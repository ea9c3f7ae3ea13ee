"""Both legs of a search at the same time: the same results, and nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import pytest

from rag.index import collection
from rag.index.beside import beside
from rag.index.collection import CollectionIndex, IndexedDocument
from rag.index.vectors import Looking

ASKED: ContextVar[str] = ContextVar("ASKED")


class Threads:
    """An observer that notes on which thread a stage runs, and what it knows of the question."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[int, str]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.of[name] = threading.get_ident(), ASKED.get()
        yield

    def took(self, name: str, seconds: float, **numbers: float) -> None:
        raise NotImplementedError


def small_index() -> CollectionIndex:
    index, ids = CollectionIndex(), np.arange(1, 41, dtype=np.int64)
    drawn = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float16)
    texts = [f"river {number % 7} engine {number % 3}" for number in range(40)]
    index.apply([IndexedDocument("doc", 1, ids, drawn, texts)], [])
    return index


def test_the_same_is_found_on_two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    index, vector = small_index(), np.ones(8, dtype=np.float32)
    ASKED.set("which river?")
    found = []
    for least, threads in ((10**9, 1), (0, 2)):
        monkeypatch.setattr(collection, "APART", least)
        seen = Threads()
        for documents in (None, frozenset({"doc"})):
            hits = index.search("river 3 engine", vector, 5, documents, phrases=["engine 2"], observer=seen)
            found.append(
                [
                    each.tolist()
                    for name, each in vars(hits).items()
                    if name not in {"coverage", "held", "partial"}
                ]
            )
        assert len({thread for thread, _ in seen.of.values()}) == threads
        assert {asked for _, asked in seen.of.values()} == {"which river?"}, "spans would be lost"
    assert all(each == found[0] for each in found)


def test_a_leg_that_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(collection, "APART", 0)
    monkeypatch.setattr(Looking, "work", fails)
    with pytest.raises(MemoryError):
        small_index().search("river", np.ones(8, dtype=np.float32), 5)


def test_nothing_goes_on_after_the_other_leg_has_failed() -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(60)
        ended.set()

    def fail() -> None:
        with beside(work, pays=True):
            begun.wait(60)
            threading.Timer(0.05, go_on.set).start()
            raise ValueError("the other leg")

    with pytest.raises(ValueError, match="the other leg"):
        fail()
    assert ended.is_set()
