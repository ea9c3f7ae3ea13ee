"""The bundled generator, loaded once for all tests of this folder, and wrappers that watch or script it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from model import Engine, Finished, SamplingParams, TokenEvent


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The bundled generator."""
    return Engine.load("auto")


class WatchedEngine:
    """The engine that it is given, with a note of every prompt; `change` replaces what it says of itself."""

    def __init__(self, engine: Engine, **change: Any) -> None:
        self._engine = engine
        self._change = change
        self.prompts: list[list[int]] = []

    def __getattr__(self, name: str) -> Any:
        return self._change[name] if name in self._change else getattr(self._engine, name)

    def generate(self, ids: list[int], params: SamplingParams, **more: Any) -> Iterator[Any]:
        """As `Engine.generate`."""
        self.prompts.append(list(ids))
        return self._engine.generate(ids, params, **more)


class ScriptedEngine(WatchedEngine):
    """An engine that writes a given text: to see what becomes of a model's mistakes."""

    def __init__(self, engine: Engine, script: str, **change: Any) -> None:
        super().__init__(engine, **change)
        self._script = script

    def generate(self, ids: list[int], *_: Any, **__: Any) -> Iterator[Any]:
        """Yields the script, piece by piece."""
        self.prompts.append(list(ids))
        pieces = [self._script[at : at + 3] for at in range(0, len(self._script), 3)]
        for index, piece in enumerate(pieces):
            yield TokenEvent(0, piece, index)
        yield Finished("stop", len(ids), 0, len(pieces), self._script)
