"""One model over several processes, behind the interface of one in this process.

No rank lives in this process: a collective that waits for a rank that is stopped cannot be interrupted, a
process can. This one only talks to the ranks, always until a deadline.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.attention import Segment
from model.errors import EngineDeadError, ModelError
from model.llama.config import LlamaConfig
from model.logits import Logits
from model.options import EngineOptions
from model.parallel.channel import tensor_from
from model.parallel.crew import StartCrew
from model.parallel.group import LOAD_SECONDS
from model.parallel.processes import LocalCrew
from model.parallel.progress import behind
from model.parallel.shard import Split
from model.parallel.stage import Stage
from model.parallel.worker import Job, Loaded
from model.plan import count_parameters

log = logging.getLogger(__name__)

Answer = tuple[Any, bytearray]


@dataclass
class _Question:
    """Something that some ranks were told, and what they have answered."""

    ranks: list[int]
    answers: dict[int, Answer] = field(default_factory=dict)

    @property
    def waiting(self) -> list[int]:
        return [rank for rank in self.ranks if rank not in self.answers]


class ParallelExecutor:
    """`model.executor.Executor` over `options.processes` ranks in each of `options.stages` stages.

    Passes that are begun follow each other through the stages. Logits come back on the CPU.

    Attributes:
        stages: how many passes can be computed at a time, each in another stage.
        failure: why the ranks are gone; None while they work.
    """

    def __init__(
        self,
        checkpoint: Path,
        config: LlamaConfig,
        device: torch.device,
        dtype: torch.dtype,
        options: EngineOptions,
        *,
        int8: bool = False,
        start: StartCrew = LocalCrew,
    ) -> None:
        """Start the ranks and have each load its part.

        Raises:
            ParameterError: the model's sizes cannot be divided so.
            CheckpointError: the weights cannot be read.
            HardwareError: no room for a chunk of KV cache, or fewer GPUs than ranks.
            EngineDeadError: a rank died while loading.
        """
        self._ranks, self.stages, world = options.processes, options.stages, options.world
        self._splits = [Split(config, rank, self._ranks) for rank in range(self._ranks)]
        self._layers = [Stage(config, stage, self.stages).layers for stage in range(self.stages)]
        self._config, self._seconds = config, options.process_seconds
        part = self._splits[0].part
        self.device, self.dtype = device, dtype
        self.block_size = options.block_size
        self._row_shape = (2, options.block_size, part.kv_heads, part.head_dim)
        self._lock = threading.Lock()
        self._failure: ModelError | None = None
        self._loading, self._closed = True, False
        self._asked: list[deque[_Question]] = [deque() for _ in range(world)]
        self._crew = start(device, options)
        self._end = weakref.finalize(self, self._crew.end)
        self._end.atexit = False  # they watch this process themselves
        name = str(dtype).removeprefix("torch.")
        told = replace(options, kv_place=None)  # which is this process's, like all tiers
        jobs = {
            rank: Job(checkpoint, rank, place.device, name, int8, told, place.threads)
            for rank, place in enumerate(self._crew.places)
        }
        answers = self._ask(jobs, seconds=LOAD_SECONDS)
        self._crew.met()
        self._loading = False
        loaded: list[Loaded] = [answer for answer, _ in answers.values()]
        self.blocks = min(each.blocks for each in loaded)
        held = "int8" if int8 else "dense"
        # Stages do not round: the same ranks in any number of stages give the same keys and values.
        self.kind = f"{device.type} {dtype} {loaded[0].attention} {held} over {self._ranks}"

    @property
    def failure(self) -> ModelError | None:
        """See the class. Looks at the processes, so that a death is seen before the next request."""
        # Whoever holds the lock finds out, and says more.
        if self._lock.acquire(blocking=False):
            try:
                if self._failure is None and not self._closed and (dead := self._deaths()):
                    self._fail(dead)
            finally:
                self._lock.release()
        return self._failure

    def logits(self, tokens: Sequence[int], segments: Sequence[Segment], rows: Sequence[int]) -> Logits:
        """See `Executor.logits`; they are on the CPU."""
        return self.begin(tokens, segments, rows)()

    def begin(
        self, tokens: Sequence[int], segments: Sequence[Segment], rows: Sequence[int]
    ) -> Callable[[], Logits]:
        """See `Executor.begin`."""
        question = self._send(self._everyone("logits", list(tokens), list(segments), list(rows)))
        shape = (len(rows), self._config.vocab_size)

        def result() -> Logits:
            raw = self._wait(question)[len(self._asked) - self._ranks][1]
            return Logits(tensor_from(raw, torch.float32, shape))

        return result

    def read(self, block: int) -> Tensor:
        """See `Executor.read`."""
        copies = max(1, self._ranks // self._config.kv_heads)  # ranks that hold the same key heads
        holders = range(0, self._ranks, copies)
        message = ("read", (block,))
        wanted = {stage * self._ranks + rank: message for stage in range(self.stages) for rank in holders}
        answers = self._ask(wanted)
        parts = []
        for stage, (first, last) in enumerate(self._layers):
            raw = [answers[stage * self._ranks + rank][1] for rank in holders]
            heads = [tensor_from(each, self.dtype, (last - first, *self._row_shape)) for each in raw]
            parts.append(torch.cat(heads, dim=3))
        return torch.cat(parts)

    def load(self, block: int, content: Tensor) -> None:
        """See `Executor.load`."""
        heads = self._row_shape[2]
        parts = [
            content[first:last].narrow(3, split.kv_head, heads).contiguous()
            for first, last in self._layers
            for split in self._splits
        ]
        self._ask(self._everyone("load", block), parts)

    def close(self) -> None:
        """End the ranks."""
        with self._lock:
            self._closed = True
            self._end()

    def _everyone(self, command: str, *arguments: Any) -> dict[int, Any]:
        return dict.fromkeys(range(len(self._asked)), (command, arguments))

    def _ask(
        self,
        messages: dict[int, Any],
        tensors: Sequence[Tensor] | None = None,
        seconds: float | None = None,
    ) -> dict[int, Answer]:
        return self._wait(self._send(messages, tensors), seconds)

    def _send(self, messages: dict[int, Any], tensors: Sequence[Tensor] | None = None) -> _Question:
        """Tell each of some ranks something."""
        deadline = time.monotonic() + self._seconds
        question = _Question([*messages])
        with self._lock:
            self._check()
            for rank, message in messages.items():
                try:
                    self._crew.send(rank, message, tensors[rank] if tensors else None, deadline)
                except TimeoutError:
                    raise self._silent([rank], self._seconds) from None
                except (EOFError, OSError) as error:
                    raise self._failed(rank, error) from error
                self._asked[rank].append(question)
        return question

    def _wait(self, question: _Question, seconds: float | None = None) -> dict[int, Answer]:
        """All answers to a question, in the order of the ranks; those to earlier ones are kept on the way."""
        seconds = seconds or self._seconds
        deadline = time.monotonic() + seconds
        with self._lock:
            self._check()
            rank = -1
            try:
                while waiting := question.waiting:
                    for rank in self._crew.ready(waiting, deadline):
                        answer = self._crew.receive(rank, deadline)
                        if isinstance(answer[0], Exception):
                            raise self._failed(rank, answer[0])
                        self._asked[rank].popleft().answers[rank] = answer
            except TimeoutError:
                raise self._silent(question.waiting, seconds) from None
            except (EOFError, OSError) as error:
                raise self._failed(rank, error) from error
        return {rank: question.answers[rank] for rank in question.ranks}

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise EngineDeadError("the engine is closed and takes no requests")

    def _failed(self, rank: int, error: Exception) -> ModelError:
        """End everything because of what a rank said, or because it says nothing any more."""
        # One that dies makes the others fail too, and they may be the first to be heard.
        patience = time.monotonic() + self._crew.grace
        while not (dead := self._deaths()) and time.monotonic() < patience:
            time.sleep(0.02)
        if dead:
            return self._fail(dead)
        if isinstance(error, ModelError) and self._loading:
            self._fail(f"{self._name(rank)}: {error}")
            return error
        if gone := [each for each in self._crew.unreachable() if each != rank]:
            return self._fail(f"{self._names(gone)} cannot be reached")
        return self._fail(f"{self._name(rank)} failed: {error}")

    def _silent(self, waiting: list[int], seconds: float) -> ModelError:
        # A rank may be stopped within the same collective in which the others wait for it.
        late = [rank for rank in self._crew.unreachable() if rank in waiting]
        late = (
            late or [rank for rank in behind(self._crew.steps(), self._ranks) if rank in waiting] or waiting
        )
        return self._fail(
            f"{self._names(late)} gave no sign of life within {seconds:g} seconds (process_seconds)"
        )

    def _deaths(self) -> str:
        return "; ".join(f"{self._name(rank)} {how}" for rank, how in self._crew.deaths().items())

    def _names(self, ranks: list[int]) -> str:
        return ", ".join(map(self._name, ranks))

    def _name(self, rank: int) -> str:
        """A rank for people, with its stage and its machine where there are several."""
        stage = f" (stage {rank // self._ranks} of {self.stages})" if self.stages > 1 else ""
        host = f" on {where}" if (where := self._crew.places[rank].host) else ""
        return f"rank {rank} of {len(self._asked)}{stage}{host}"

    def _fail(self, reason: str) -> ModelError:
        failure = EngineDeadError(f"{reason}; the model is spread over all of them: restart the service")
        self._failure = failure
        log.error("%s", failure)
        self._end()
        return failure


def load_parallel(  # noqa: PLR0917 - those of load_executor
    checkpoint: Path,
    config: LlamaConfig,
    device: torch.device,
    dtype: torch.dtype,
    options: EngineOptions,
    weights: str = "dense",
    start: StartCrew | None = None,
) -> tuple[ParallelExecutor, int]:
    """As `model.loading.load_executor`, over several processes, which `start` starts.

    "packed" weights of few bits become dense ones: their blocks cannot be cut by columns everywhere.
    """
    executor = ParallelExecutor(
        checkpoint, config, device, dtype, options, int8=weights == "int8", start=start or LocalCrew
    )
    return executor, count_parameters(config)
