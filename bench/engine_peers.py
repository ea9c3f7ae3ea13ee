"""What `bench.engine` compares: our engine, transformers and llama.cpp, each behind the same few calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import xllamacpp
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.cache_utils import DynamicCache

from model import Engine, SamplingParams, TokenEvent


@dataclass(frozen=True)
class Speed:
    """Tokens per second of one run."""

    prefill: float
    decode: float


class Contestant(Protocol):
    """One engine with one model."""

    def run(self, ids: list[int], new: int) -> Speed:
        """Read a prompt that is not cached and write `new` tokens, greedily."""
        ...

    def together(self, prompts: list[list[int]], new: int) -> float:
        """Tokens per second of all streams together. The prompts are read before the clock starts."""
        ...


class Ours:
    """The whole path of a request, events and text included."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def run(self, ids: list[int], new: int) -> Speed:
        """See `Contestant.run`."""
        self.engine.forget()
        begin = first = time.perf_counter()
        for event in self.engine.generate(ids, SamplingParams(max_tokens=new, ignore_eos=True)):
            if isinstance(event, TokenEvent) and event.index == 0:
                first = time.perf_counter()
        return Speed(len(ids) / (first - begin), (new - 1) / (time.perf_counter() - first))

    def together(self, prompts: list[list[int]], new: int) -> float:
        """See `Contestant.together`."""
        for ids in prompts:
            list(self.engine.generate(ids, SamplingParams(max_tokens=1)))
        times: list[float] = []

        def one(ids: list[int]) -> None:
            for event in self.engine.generate(ids, SamplingParams(max_tokens=new, ignore_eos=True)):
                if isinstance(event, TokenEvent):
                    times.append(time.perf_counter())

        in_threads(one, prompts)
        times.sort()
        # Streams start and end one after the other: the middle of the time, when all of them write.
        middle = times[len(times) // 4 : -len(times) // 4]
        return (len(middle) - 1) / (middle[-1] - middle[0])


class Transformers:
    """A bare greedy loop: faster than `generate`, which adds its own bookkeeping."""

    def __init__(self, path: Path, dtype: str) -> None:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=getattr(torch, dtype), attn_implementation="sdpa"
        )
        self._model = model.train(False)

    @torch.inference_mode()
    def run(self, ids: list[int], new: int) -> Speed:
        """See `Contestant.run`."""
        cache = DynamicCache(config=self._model.config)
        begin = time.perf_counter()
        out = self._model(torch.tensor([ids]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        token = out.logits[:, -1].argmax(-1, keepdim=True)
        first = time.perf_counter()
        for _ in range(new - 1):
            out = self._model(token, past_key_values=cache, use_cache=True)
            token = out.logits[:, -1].argmax(-1, keepdim=True)
        token.item()
        return Speed(len(ids) / (first - begin), (new - 1) / (time.perf_counter() - first))

    @torch.inference_mode()
    def together(self, prompts: list[list[int]], new: int) -> float:
        """One batch of prompts of equal length, which is the best that it can be given."""
        cache = DynamicCache(config=self._model.config)
        out = self._model(torch.tensor(prompts), past_key_values=cache, use_cache=True, logits_to_keep=1)
        token = out.logits[:, -1].argmax(-1, keepdim=True)
        begin = time.perf_counter()
        for _ in range(new - 1):
            out = self._model(token, past_key_values=cache, use_cache=True)
            token = out.logits[:, -1].argmax(-1, keepdim=True)
        token.tolist()
        return len(prompts) * (new - 1) / (time.perf_counter() - begin)


class LlamaCpp:
    """By llama.cpp's own timings, which leave out its HTTP and JSON. Flash attention on."""

    def __init__(self, path: Path, threads: int, context: int, streams: int) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel = context * streams, streams
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.verbosity = -1
        self._server = xllamacpp.Server(params)

    def run(self, ids: list[int], new: int) -> Speed:
        """See `Contestant.run`."""
        timings = self._complete(ids, new)
        return Speed(timings["prompt_per_second"], timings["predicted_per_second"])

    def together(self, prompts: list[list[int]], new: int) -> float:
        """The streams' own rates, added: each is timed from its first token to its last."""
        rates: list[float] = []

        def one(ids: list[int]) -> None:
            rates.append(self._complete(ids, new, cache=True)["predicted_per_second"])

        in_threads(
            lambda ids: rates.append(self._complete(ids, 1, cache=True)["predicted_per_second"]), prompts
        )
        rates.clear()
        in_threads(one, prompts)
        return sum(rates)

    def _complete(self, ids: list[int], new: int, *, cache: bool = False) -> dict[str, Any]:
        request = {
            "prompt": ids,
            "n_predict": new,
            "temperature": 0,
            "ignore_eos": True,
            "cache_prompt": cache,
        }
        timings: dict[str, Any] = self._server.handle_completions(request)["timings"]
        return timings


def in_threads(work: Callable[[list[int]], None], prompts: list[list[int]]) -> None:
    """Call `work` with each prompt at the same time."""
    threads = [threading.Thread(target=work, args=(ids,)) for ids in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
