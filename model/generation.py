"""The answer side of one request: logits to tokens, tokens to text, and when to stop."""

from __future__ import annotations

from collections.abc import Sequence

from model.constraints import bind
from model.events import Finished, FinishReason, TokenEvent
from model.logits import Logits
from model.params import SamplingParams
from model.sampling import Choice, Sampler
from model.text.stream import TextStream
from model.text.tokenizer import Tokenizer


class Generation:
    """Sampler, text and end of one answer; used once.

    Attributes:
        limit: most new tokens.
        count: new tokens so far.
        reason: why the answer is over; None while it goes on.
    """

    def __init__(
        self, tokenizer: Tokenizer, prompt: Sequence[int], params: SamplingParams, limit: int
    ) -> None:
        self._tokenizer, self._prompt, self._params = tokenizer, prompt, params
        self._stop_ids = set(params.stop_token_ids) | (set() if params.ignore_eos else tokenizer.stop_ids)
        params.check_vocabulary(tokenizer.vocab_size)
        spec = params.constraint
        self._constraint = None if spec is None else bind(spec, tokenizer, prompt, self._stop_ids)
        self._stream = TextStream(params.stop)
        self._text: list[str] = []
        self._sampler: Sampler | None = None
        self._replayed: tuple[int, ...] = ()
        self.limit = limit
        self.count = 0
        self.reason: FinishReason | None = None

    def next(self, logits: Logits, row: int) -> TokenEvent:
        """Choose the next token by one row of the logits and take it up."""
        choice, sampler = self._choose(logits, row)
        index, text = self.count, self._take(choice.token)
        if self.reason is None and sampler.finished:
            self.reason = "stop"  # nothing but a stop id can follow: no pass is needed to find it
        return TokenEvent(choice.token, text, index, choice.logprob, choice.top)

    def resume(self, tokens: Sequence[int]) -> None:
        """Take up what the same request was given elsewhere: the next token is the one after them."""
        for token in tokens:
            self._take(token)
        self._replayed = tuple(tokens)

    def _take(self, token: int) -> str:
        """Count a token, see whether it is the last, and give the text that became certain by it."""
        self.count += 1
        text = ""
        if token in self._stop_ids:
            self.reason = "stop"
        else:
            # Control tokens are no part of the answer's text.
            control = self._tokenizer.is_control(token)
            piece = b"" if control else self._tokenizer.token_bytes(token)
            # What a control token ends is complete: nothing that follows can belong to a stop string in it.
            text = self._stream.flush() if control else self._stream.push(piece)
            self._text.append(text)
            if self._stream.stopped is not None:
                self.reason = "stop_string"
            elif self.count == self.limit:
                self.reason = "length"
        return text

    def _choose(self, logits: Logits, row: int) -> tuple[Choice, Sampler]:
        words, sampler = self._tokenizer.vocab_size, self._sampler
        # Where nothing but the largest is wanted and the pass has found it, the row need not be looked at.
        if sampler is not None and sampler.plain and logits.best is not None and logits.best[row] < words:
            return Choice(logits.best[row]), sampler
        # Embeddings are often padded to a round number of rows, which are no tokens.
        values = logits.values[row, :words]
        if sampler is None:
            sampler = self._sampler = Sampler(self._params, self._prompt, values, self._constraint)
            for token in self._replayed:
                sampler.replay(token)
        return sampler.next(values), sampler

    def forced(self) -> tuple[int, ...]:
        """Tokens that a constraint leaves no choice about."""
        return () if self._sampler is None else self._sampler.forced()

    def finished(self, reason: FinishReason, cached: int) -> Finished:
        """The last event."""
        self._text.append(self._stream.flush())
        return Finished(reason, len(self._prompt), cached, self.count, "".join(self._text))
