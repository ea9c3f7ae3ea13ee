"""The engine: a loaded model that reads tokens and writes them, one request at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from model.attention import select_attention
from model.errors import ChatFormatError, ParameterError, PromptError, PromptTooLongError
from model.generation import Generation
from model.hardware import describe, resolve_device, resolve_dtype
from model.llama.config import LlamaConfig
from model.llama.rope import Rope
from model.llama.transformer import Transformer
from model.queue import FairLock
from model.request import Event, PrefillProgress
from model.runner import Runner
from model.sampling import SamplingParams
from model.text.chat import ChatFormat, Message, recognise
from model.text.tokenizer import Tokenizer
from model.weights.checkpoint import open_checkpoint
from model.weights.hub import resolve

DEFAULT_CHUNK = 512
"""Prompt tokens per step: large enough for the matrix products to be fast, small enough to cancel soon."""


class Engine:
    """One model in memory. Safe to use from several threads; requests take turns in the order they came.

    Attributes:
        name: the checkpoint's own name.
        tokenizer: text to ids and back.
        chat_format: renders dialogues; None where the checkpoint's template is missing or unknown.
        config: sizes of the model.
        fingerprint: 64 hex digits that name weights and tokenizer, wherever the files lie.
        parameter_count: weights, a tied head counted once.
    """

    def __init__(
        self,
        runner: Runner,
        config: LlamaConfig,
        tokenizer: Tokenizer,
        *,
        chat_format: ChatFormat | None,
        name: str,
        fingerprint: str,
        parameter_count: int,
    ) -> None:
        self._runner = runner
        self._turn = FairLock()
        self.config = config
        self.tokenizer = tokenizer
        self.chat_format = chat_format
        self.name = name
        self.fingerprint = fingerprint
        self.parameter_count = parameter_count

    @classmethod
    def load(
        cls,
        path: str | Path = "auto",
        device: str = "auto",
        dtype: str = "auto",
        *,
        prefill_chunk: int = DEFAULT_CHUNK,
        cache_path: Path | None = None,
    ) -> Engine:
        """Load a model.

        Args:
            path: a safetensors folder, a .gguf file, a hub id that is in the local hub cache, or "auto"
                for the bundled model.
            device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".
            dtype: "auto" (what this machine is fast in), "float32", "bfloat16" or "float16".
            prefill_chunk: prompt tokens per step; prompts are cut at its multiples.
            cache_path: JSON file that keeps the measurement behind `dtype="auto"`.

        Raises:
            CheckpointError: no model there, or one that cannot be read.
            TokenizerError: its tokenizer is missing or of another kind.
            HardwareError: unknown device or dtype.
            ParameterError: `prefill_chunk` is not positive.
        """
        if prefill_chunk < 1:
            raise ParameterError(f"prefill_chunk is {prefill_chunk}; allowed: at least 1")
        target = resolve_device(device)
        kind = resolve_dtype(describe(device, cache_path).dtype if dtype == "auto" else dtype)
        checkpoint = open_checkpoint(resolve(path))
        tokenizer = checkpoint.tokenizer()
        with torch.device("meta"):
            model = Transformer(checkpoint.config)
        model = model.to(kind).to_empty(device=target).requires_grad_(False).eval()
        checkpoint.fill(model)
        rope = Rope.of(checkpoint.config, target, checkpoint.rope_divisors)
        return cls(
            Runner(model, checkpoint.config, rope, select_attention(target, kind), prefill_chunk),
            checkpoint.config,
            tokenizer,
            chat_format=recognise(tokenizer, checkpoint.chat_template),
            name=checkpoint.name,
            fingerprint=checkpoint.fingerprint(),
            parameter_count=sum(parameter.numel() for parameter in model.parameters()),
        )

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and answer together."""
        return self.config.context_length

    @property
    def device(self) -> str:
        """Where the weights are, such as "cpu" or "cuda:0"."""
        return str(self._runner.device)

    @property
    def dtype(self) -> str:
        """The weights' dtype, such as "bfloat16"."""
        return str(self._runner.dtype).removeprefix("torch.")

    def logits(self, ids: Sequence[int]) -> Tensor:
        """Logits of every position, float32 [n, vocab] on the CPU; row i predicts token i + 1.

        Raises:
            PromptError: empty, too long, or ids outside the vocabulary.
        """
        ids = self._checked(ids, self.context_length)
        with self._turn.hold():
            return torch.cat(
                [self._runner.logits(hidden).cpu() for _, hidden in self._runner.prefill(ids, 0)]
            )

    def score(self, ids: Sequence[int], start: int) -> Tensor:
        """Log-probabilities of ids[start:], each given everything before it; float32 [n - start] on the CPU.

        Raises:
            PromptError: empty, too long, or ids outside the vocabulary.
            ParameterError: `start` is not within 1 … n - 1.
        """
        ids = self._checked(ids, self.context_length)
        if not 1 <= start < len(ids):
            raise ParameterError(f"start is {start}; allowed: 1 to {len(ids) - 1} for {len(ids)} tokens")
        scores: list[Tensor] = []
        with self._turn.hold():
            for first, hidden in self._runner.prefill(ids[:-1], start - 1):
                skip = max(0, start - 1 - first)
                if skip < len(hidden):
                    # Row i predicts token i + 1.
                    targets = torch.tensor(ids[first + skip + 1 : first + len(hidden) + 1])
                    logits = self._runner.logits(hidden[skip:])
                    chosen = logits.gather(1, targets.to(logits.device)[:, None])[:, 0]
                    scores.append((chosen - logits.logsumexp(dim=-1)).cpu())
        return torch.cat(scores)

    def forget(self) -> None:
        """Drop the keys and values of the last prompt, and their memory."""
        with self._turn.hold():
            self._runner.forget()

    def generate(
        self,
        ids: Sequence[int],
        params: SamplingParams | None = None,
        *,
        cancel: threading.Event | None = None,
        on_progress: Callable[[PrefillProgress], None] | None = None,
    ) -> Iterator[Event]:
        """Continue a prompt. The work happens while the result is iterated; closing it stops the work.

        Args:
            ids: the prompt, BOS included where the model wants one.
            cancel: when set, the generation ends before its next step, or at once while it waits its turn.
            on_progress: called with every `PrefillProgress` as well.

        Yields:
            `PrefillProgress` before the first chunk and after each, `TokenEvent` for every new token,
            and one `Finished` at the end.

        Raises:
            PromptError: (at once, not while iterating) empty, ids outside the vocabulary, or no room for
                one new token.
        """
        prompt = self._checked(ids, self.context_length - 1)
        params = params or SamplingParams()
        generation = Generation(self._runner, self.tokenizer, prompt, params, cancel or threading.Event())
        # A prompt that leaves less than max_tokens ends with the context, not with an error.
        return generation.run(
            self._turn, min(params.max_tokens, self.context_length - len(prompt)), on_progress
        )

    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        cancel: threading.Event | None = None,
        on_progress: Callable[[PrefillProgress], None] | None = None,
    ) -> Iterator[Event]:
        """`generate` of a dialogue in the model's own chat format.

        Raises:
            ChatFormatError: the model has no known chat format, or the dialogue is malformed.
            PromptError: as in `generate`.
        """
        if self.chat_format is None:
            raise ChatFormatError(
                f"{self.name} has no chat template that is known (Llama 3 and ChatML are); use generate"
            )
        prompt = self.chat_format.render(messages)
        return self.generate(prompt, params, cancel=cancel, on_progress=on_progress)

    def _checked(self, ids: Sequence[int], limit: int) -> list[int]:
        ids = list(ids)
        if not ids:
            raise PromptError("the prompt is empty; give at least one token")
        if len(ids) > limit:
            raise PromptTooLongError(len(ids), limit)
        low, high = min(ids), max(ids)
        if low < 0 or high >= self.config.vocab_size:
            wrong, last = low if low < 0 else high, self.config.vocab_size - 1
            raise PromptError(f"token id {wrong} is outside the vocabulary, 0 to {last}")
        return ids
