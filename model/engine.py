"""The engine: a loaded model that reads tokens and writes them, for many requests at a time."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from model.chatting import Chatting
from model.errors import ModelError
from model.events import Event, PrefillProgress
from model.generation import Generation
from model.kv.prefix import PrefixCache
from model.kv.tiers import Tiers
from model.loaded import LoadedModel, load_model
from model.loop import Loop
from model.native import FEW_ROWS, level
from model.options import EngineOptions
from model.parallel.crew import StartCrew
from model.params import SamplingParams
from model.reading import Ranked, read_logits, read_ranked, read_scores
from model.request import Request, checked
from model.runner import Runner
from model.scheduler import Scheduler
from model.speculate import Drafter, StepTimes, drafts
from model.stats import Stats


class Engine(Chatting):
    """One model in memory. Safe to use from several threads, whose requests share every step.

    Attributes:
        options: memory and steps.
        name, tokenizer, chat_format, config, fingerprint, parameter_count, weights: of `LoadedModel`.
    """

    def __init__(self, loaded: LoadedModel, options: EngineOptions | None = None) -> None:
        self.options = options = options or EngineOptions()
        self.config, self.tokenizer, self.chat_format = loaded.config, loaded.tokenizer, loaded.chat_format
        self.name, self.fingerprint = loaded.name, loaded.fingerprint
        self.parameter_count, self.weights = loaded.parameter_count, loaded.weights
        self._executor = executor = loaded.executor
        chunk = options.chunk_on(executor.device.type)
        # Everything beside the tokens that keys and values depend on: other kernels round otherwise.
        arithmetic = f"{executor.kind} {self.weights} {level()} {chunk} {torch.__version__}"
        kind = f"{self.fingerprint} {arithmetic} {executor.block_size}"
        identity = hashlib.sha256(kind.encode()).digest()
        self._tiers: Tiers | None = None
        if options.kv_folder is not None or options.kv_memory_bytes or options.kv_place is not None:
            self._tiers = Tiers(
                options.kv_memory_bytes,
                options.kv_folder,
                options.kv_disk_bytes,
                identity,
                place=options.kv_place,
            )
        self._cache = PrefixCache(executor, identity, self._tiers)
        times = StepTimes()
        self._scheduler = Scheduler(
            self._cache,
            block_size=executor.block_size,
            chunk=chunk,
            budget=options.step_tokens_on(executor.device.type) * executor.stages,
            ahead=executor.stages > 1,
            most_running=options.most_running,
            few_rows=FEW_ROWS,
            draft=drafts(times),
        )
        self._loop = Loop(Runner(executor, chunk), self._scheduler, self._cache, times)

    @classmethod
    def load(
        cls,
        path: str | Path = "auto",
        device: str = "auto",
        dtype: str = "auto",
        *,
        options: EngineOptions | None = None,
        cache_path: Path | None = None,
        start: StartCrew | None = None,
    ) -> Engine:
        """Load a model.

        Args:
            path: a safetensors folder, a .gguf file, a hub id that is in the local hub cache, or "auto"
                for the bundled model.
            device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".
            dtype: "auto" (what this machine is fast in; on a CPU the matrices of a GGUF file stay packed),
                "int8" (on a CPU: as "auto", with eight bits a weight), "float32", "bfloat16" or "float16".
            options: memory and steps.
            cache_path: JSON file that keeps the measurement behind `dtype="auto"`.
            start: starts the processes of a model that is split; None: on this machine. Elsewhere "auto" is a
                CPU.

        Raises:
            CheckpointError: no model there, or one that cannot be read.
            TokenizerError: its tokenizer is missing or of another kind.
            HardwareError: unknown device or dtype, or no room for the KV cache.
            ParameterError: the model's sizes cannot be divided by `options.processes`, or its layers not be
                dealt out to `options.stages`.
            EngineDeadError: one of the processes died while loading.
        """
        options = options or EngineOptions()
        return cls(load_model(path, device, dtype, options, cache_path=cache_path, start=start), options)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End running requests as cancelled, write out the KV tiers, and let go of the model."""
        self._loop.close()
        if self._tiers is not None:
            self._tiers.close()
        self._executor.close()

    def flush(self, timeout: float) -> bool:
        """Write what waits for the disk tier, for `timeout` seconds at most; whether that sufficed."""
        return self._tiers is None or self._tiers.flush(timeout)

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and answer together: the model's window, or less where the KV cache is."""
        return min(self.config.context_length, self._executor.blocks * self._executor.block_size)

    @property
    def device(self) -> str:
        """Where the weights are, such as "cpu" or "cuda:0"."""
        return str(self._executor.device)

    @property
    def dtype(self) -> str:
        """The activations' dtype, such as "bfloat16"."""
        return str(self._executor.dtype).removeprefix("torch.")

    @property
    def failure(self) -> ModelError | None:
        """Why the engine takes no more requests; None while it does."""
        return self._loop.failure or self._executor.failure

    def stats(self) -> Stats:
        """What the engine has done and holds; may be asked at any time, between two steps or in one."""
        scheduler, cache = self._scheduler, self._cache
        return Stats(
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            blocks=self._executor.blocks,
            blocks_free=cache.free,
            blocks_cached=cache.named,
            block_size=self._executor.block_size,
            preemptions=scheduler.preemptions,
            tiers=asdict(self._tiers.stats()) if self._tiers is not None else {},
            **asdict(self._loop.counters),
        )

    def logits(self, ids: Sequence[int]) -> Tensor:
        """Logits of every position, float32 [n, vocab] on the CPU; row i predicts token i + 1.

        Raises:
            PromptError: empty, too long, or ids outside the vocabulary.
        """
        return read_logits(self._loop, self._checked(ids, self.context_length))

    def score(
        self,
        ids: Sequence[int],
        start: int,
        stop: int | None = None,
        *,
        salt: str = "",
        tags: Collection[str] = (),
    ) -> Tensor:
        """Log-probabilities of ids[start:stop], each given everything before it; float32 on the CPU.

        What was read is kept for prompts of the same `salt`, until `purge` is called with one of `tags`.

        Raises:
            PromptError: empty, too long, or ids outside the vocabulary.
            ParameterError: not 1 <= start < stop <= n.
        """
        ids = self._checked(ids, self.context_length)
        stop = len(ids) if stop is None else stop
        return read_scores(self._loop, ids, range(start, stop), salt, frozenset(tags))

    def rank(
        self,
        ids: Sequence[int],
        k: int = 0,
        *,
        cancel: threading.Event | None = None,
        salt: str = "",
        tags: Collection[str] = (),
    ) -> Ranked | None:
        """Log-probabilities of ids[1:], each given all before it, and of the `k` likeliest in its place.

        None when `cancel` was set before all was read.

        Raises:
            PromptError: fewer than two tokens, too long, or ids outside the vocabulary.
            ParameterError: k is negative.
        """
        ids = self._checked(ids, self.context_length)
        return read_ranked(
            self._loop, ids, k, cancel=cancel or threading.Event(), salt=salt, tags=frozenset(tags)
        )

    def forget(self) -> None:
        """Forget every prompt that was read; the tiers below the KV pool keep theirs."""
        self._loop.call(self._cache.clear)

    def purge(self, tag: str) -> int:
        """Remove every KV block of requests with this tag, from the pool, memory and disk.

        It is complete on return: nothing of them can be found, nor is it added by requests that still run.

        Returns:
            How many blocks of the pool there were.
        """
        return self._loop.call(lambda: self._scheduler.purge(tag))

    def generate(
        self,
        ids: Sequence[int],
        params: SamplingParams | None = None,
        *,
        cancel: threading.Event | None = None,
        on_progress: Callable[[PrefillProgress], None] | None = None,
        salt: str = "",
        tags: Collection[str] = (),
        written: Sequence[int] = (),
    ) -> Iterator[Event]:
        """Continue a prompt. The request starts when the result is first iterated; closing it ends it.

        Args:
            ids: the prompt, BOS included where the model wants one.
            cancel: when set, the generation ends before its next step.
            on_progress: called with every `PrefillProgress` as well.
            salt: what was read is found again only by requests of the same salt.
            tags: names by which `purge` removes what was read.
            written: what another engine has written of this very request before it was lost; the first event
                is the token after it, and `Finished` counts all. The same tokens follow as would have there
                (at a temperature above 0 only with a seed).

        Yields:
            `PrefillProgress` before the first chunk and after each, `TokenEvent` for every new token,
            and one `Finished` at the end.

        Raises:
            PromptError: (at once, not while iterating) empty, ids outside the vocabulary, or no room for
                one new token.
            StepError: the forward pass failed.
            EngineDeadError: the engine has failed or was closed.
        """
        prompt = self._checked(ids, self.context_length - 1)
        params = params or SamplingParams()
        # A prompt that leaves less than max_tokens ends with the context, not with an error.
        limit = min(params.max_tokens, self.context_length - len(prompt))
        generation = Generation(self.tokenizer, prompt, params, limit)
        if written:
            generation.resume(checked(written, limit, self.config.vocab_size))
        if generation.reason is not None:
            return iter([generation.finished(generation.reason, 0)])
        request = Request(
            prompt=len(prompt),
            tokens=[*prompt, *written],
            cancel=cancel or threading.Event(),
            generation=generation,
            drafter=Drafter() if self.options.speculate else None,
            salt=salt,
            tags=frozenset(tags),
        )
        return self._loop.serve(request, on_progress)

    def _checked(self, ids: Sequence[int], limit: int) -> list[int]:
        return checked(ids, limit, self.config.vocab_size)
