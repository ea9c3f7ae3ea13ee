"""One request from its first event to its last: read the prompt, then write token by token."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator

from torch import Tensor

from model.queue import FairLock
from model.request import Event, Finished, FinishReason, PrefillProgress, TokenEvent
from model.runner import Runner
from model.sampling import Sampler, SamplingParams
from model.text.stream import TextStream
from model.text.tokenizer import Tokenizer


class Generation:
    """The state of one request; used once."""

    def __init__(
        self,
        runner: Runner,
        tokenizer: Tokenizer,
        prompt: list[int],
        params: SamplingParams,
        cancel: threading.Event,
    ) -> None:
        self._runner, self._tokenizer, self._prompt = runner, tokenizer, prompt
        self._params, self._cancel = params, cancel
        self._stream = TextStream(params.stop)
        self._text: list[str] = []
        self._tokens = 0
        self._cached = 0

    def run(
        self, turn: FairLock, limit: int, on_progress: Callable[[PrefillProgress], None] | None
    ) -> Iterator[Event]:
        """All events in order; the last is `Finished`.

        Args:
            turn: held from the first step to the last, or until the iterator is closed.
            limit: most new tokens.
        """
        with turn.hold(self._cancel) as mine:
            if not mine:
                yield self._finished("cancelled")
                return
            hidden = yield from self._read(on_progress)
            reason: FinishReason = "cancelled"
            if hidden is not None:
                reason = yield from self._write(hidden, limit)
            yield self._finished(reason)

    def _read(
        self, on_progress: Callable[[PrefillProgress], None] | None
    ) -> Generator[Event, None, Tensor | None]:
        """Prefill; gives the hidden states of the last chunk, None if cancelled."""
        total = len(self._prompt)
        self._cached = read = self._runner.reusable(self._prompt, total - 1)
        hidden: Tensor | None = None
        steps = self._runner.prefill(self._prompt, total - 1)
        while True:
            progress = PrefillProgress(read, total, self._cached)
            if on_progress:
                on_progress(progress)
            yield progress
            if read == total:
                return hidden
            if self._cancel.is_set():
                return None
            start, hidden = next(steps)
            read = start + len(hidden)

    def _write(self, hidden: Tensor, limit: int) -> Generator[Event, None, FinishReason]:
        """Decode; gives the reason of the end."""
        params, tokenizer = self._params, self._tokenizer
        stop_ids = set(params.stop_token_ids) | (set() if params.ignore_eos else tokenizer.stop_ids)
        sampler: Sampler | None = None
        while not self._cancel.is_set():
            # Embeddings are often padded to a round number of rows, which are no tokens.
            logits = self._runner.logits(hidden[-1:])[0, : tokenizer.vocab_size]
            sampler = sampler or Sampler(params, self._prompt, logits)
            token = sampler.next(logits)
            position, index = len(self._prompt) + self._tokens, self._tokens
            self._tokens += 1
            if token in stop_ids:
                yield TokenEvent(token, "", index)
                return "stop"
            # Control tokens are no part of the answer's text.
            piece = b"" if tokenizer.is_control(token) else tokenizer.token_bytes(token)
            text = self._stream.push(piece)
            self._text.append(text)
            yield TokenEvent(token, text, index)
            if self._stream.stopped is not None:
                return "stop_string"
            if self._tokens == limit:
                return "length"
            hidden = self._runner.forward([token], position)
        return "cancelled"

    def _finished(self, reason: FinishReason) -> Finished:
        self._text.append(self._stream.flush())
        return Finished(reason, len(self._prompt), self._cached, self._tokens, "".join(self._text))
