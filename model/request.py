"""One request on its way through the engine: its tokens, its KV blocks, and how far it has caught up."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from torch import Tensor

from model.errors import ModelError, PromptError, PromptTooLongError
from model.events import Event, Finished, FinishReason, PrefillProgress
from model.generation import Generation
from model.speculate import Drafter

_arrivals = itertools.count()


@dataclass(eq=False)
class Request:
    """A prompt to be read and, with a generation, continued.

    Every request catches up `computed` with the length of `tokens`: reading a prompt, writing, and resuming
    after a preemption are the same thing.

    Attributes:
        prompt: number of leading `tokens` that were given.
        tokens: the prompt and everything written so far.
        read_from: first position whose logits are wanted, where the prompt is only read.
        generation: sampler, limits and text of the answer; None where the prompt is only read.
        collect: takes the first position and the logits [n, vocab] of every chunk of a prompt that is only
            read.
        salt: requests share cached blocks only with those of the same salt.
        tags: what `Engine.purge` names to remove the blocks of this request.
        cancel: the caller's; when set, the request ends before its next step.
        abandoned: the same, said by nobody reading on.
        events: of a generation, those of a step together; the last is `Finished` or an error.
        done: of a prompt that is only read.
        computed: positions whose keys and values are in `blocks`.
        names: of the prompt's full blocks.
        cached: positions that were there already when the request was admitted first.
        started: whether the caller was told how much of the prompt is cached.
        keep: whether full blocks are named, to be found by others; a purge of one of the tags ends it.
    """

    prompt: int
    tokens: list[int]
    cancel: threading.Event
    generation: Generation | None = None
    collect: Callable[[int, Tensor], None] | None = None
    read_from: int = 0
    drafter: Drafter | None = None
    salt: str = ""
    tags: frozenset[str] = frozenset()
    arrival: int = field(default_factory=lambda: next(_arrivals))
    events: queue.SimpleQueue[Sequence[Event] | ModelError] = field(default_factory=queue.SimpleQueue)
    done: Future[FinishReason] = field(default_factory=Future)
    computed: int = 0
    blocks: list[int] = field(default_factory=list)
    names: list[bytes] | None = None
    cached: int | None = None
    started: bool = False
    abandoned: bool = False
    keep: bool = True

    @property
    def cancelled(self) -> bool:
        """Whether the request is to end before its next step."""
        return self.abandoned or self.cancel.is_set()

    def results(self, on_progress: Callable[[PrefillProgress], None] | None = None) -> Iterator[Event]:
        """The events of a generation as they come; leaving before the last one abandons the request.

        Args:
            on_progress: called with every `PrefillProgress` as well.

        Raises:
            ModelError: what ended the request instead of a `Finished`.
        """
        try:
            while True:
                said = self.events.get()
                if isinstance(said, ModelError):
                    raise said
                for event in said:
                    if on_progress and isinstance(event, PrefillProgress):
                        on_progress(event)
                    yield event
                    if isinstance(event, Finished):
                        return
        finally:
            self.abandoned = True

    def fail(self, error: ModelError) -> None:
        """Tell the caller that nothing will come any more."""
        if self.generation is None:
            self.done.set_exception(error)
        else:
            self.events.put(error)

    @property
    def wanted(self) -> int:
        """First position whose logits are wanted: of a generation, that of the newest token."""
        return self.read_from if self.generation is None else len(self.tokens) - 1

    @property
    def reading(self) -> bool:
        """Whether part of the prompt has still to be read."""
        return self.computed < self.prompt


@dataclass(frozen=True)
class Work:
    """What one step does for one request: positions start … start + count - 1.

    Attributes:
        draft: guesses of the tokens that follow the request's own; the last of `count` positions.
    """

    request: Request
    start: int
    count: int
    draft: tuple[int, ...] = ()

    @property
    def tokens(self) -> list[int]:
        """The tokens at these positions."""
        end = self.start + self.count - len(self.draft)
        return [*self.request.tokens[self.start : end], *self.draft]


def checked(ids: Sequence[int], limit: int, words: int) -> list[int]:
    """The ids of a prompt, if it can be served.

    Args:
        limit: most tokens.
        words: size of the vocabulary.

    Raises:
        PromptError: empty, too long, or ids outside the vocabulary.
    """
    ids = list(ids)
    if not ids:
        raise PromptError("the prompt is empty; give at least one token")
    if len(ids) > limit:
        raise PromptTooLongError(len(ids), limit)
    low, high = min(ids), max(ids)
    if low < 0 or high >= words:
        wrong = low if low < 0 else high
        raise PromptError(f"token id {wrong} is outside the vocabulary, 0 to {words - 1}")
    return ids
