"""One model over several processes, behind the interface of one in this process.

No rank lives in this process: a collective that waits for a rank that is stopped cannot be interrupted, a
process can. This one only talks to the ranks, always until a deadline.
"""

from __future__ import annotations

import logging
import select
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.attention import Segment
from model.errors import EngineDeadError, ModelError
from model.llama.config import LlamaConfig
from model.logits import Logits
from model.options import EngineOptions
from model.parallel.channel import Channel, tensor_from
from model.parallel.group import Progress
from model.parallel.processes import devices, end, ending, start, stopped
from model.parallel.shard import Split
from model.parallel.worker import Job, Loaded
from model.plan import count_parameters

log = logging.getLogger(__name__)

_LOAD_SECONDS = 3600.0
"""How long loading may take: 405 billion weights from a slow disk."""
_LOOK_SECONDS = 0.5
_GRACE_SECONDS = 1.0
"""A rank that dies makes the others fail too, and they may be the first to be heard."""


class ParallelExecutor:
    """`model.executor.Executor` over `options.processes` ranks.

    `forward` leaves the hidden states with the ranks and gives the numbers of their rows, int64 [n, 1], which
    `head` takes; they are good until the next `forward`. Logits come back on the CPU.

    Attributes:
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
    ) -> None:
        """Start the ranks and have each load its part.

        Raises:
            ParameterError: the model's sizes cannot be divided by `options.processes`.
            CheckpointError: the weights cannot be read.
            HardwareError: no room for a chunk of KV cache, or fewer GPUs than processes.
            EngineDeadError: a rank died while loading.
        """
        self._splits = [Split(config, rank, options.processes) for rank in range(options.processes)]
        self._config, self._seconds = config, options.process_seconds
        part = self._splits[0].part
        self.device, self.dtype = device, dtype
        self.block_size = options.block_size
        self._block_shape = (part.layers, 2, options.block_size, part.kv_heads, part.head_dim)
        self._lock = threading.Lock()
        self._failure: ModelError | None = None
        self._loading, self._closed = True, False
        places = devices(device, options.processes)
        folder = Path(tempfile.mkdtemp(prefix="longleaf-ranks-"))
        try:
            self._progress = Progress(folder, options.processes, create=True)
            self._ranks = [start() for _ in places]
            self._end = weakref.finalize(self, end, self._ranks)
            self._end.atexit = False  # they watch this process themselves
            threads = max(1, torch.get_num_threads() // options.processes)
            told = replace(options, kv_place=None)  # which is this process's, like all tiers
            jobs = [
                Job(checkpoint, rank, each, str(dtype).removeprefix("torch."), int8, told, folder, threads)
                for rank, each in enumerate(places)
            ]
            answers = self._ask(dict(enumerate(jobs)), seconds=_LOAD_SECONDS)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._loading = False
        loaded: list[Loaded] = [answer for answer, _ in answers.values()]
        self.blocks = min(each.blocks for each in loaded)
        held = "int8" if int8 else "dense"
        self.kind = f"{device.type} {dtype} {loaded[0].attention} {held} over {options.processes}"

    @property
    def failure(self) -> ModelError | None:
        """See the class. Looks at the processes, so that a death is seen before the next request."""
        # Whoever holds the lock finds out, and says more.
        if self._lock.acquire(blocking=False):
            try:
                if self._failure is None and not self._closed and (dead := self._deaths()):
                    self._fail("; ".join(dead))
            finally:
                self._lock.release()
        return self._failure

    @property
    def processes(self) -> list[int]:
        """The ranks' process ids."""
        return [process.pid for process, _ in self._ranks]

    def logits(self, tokens: Sequence[int], segments: Sequence[Segment], rows: Sequence[int]) -> Logits:
        """See `Executor.logits`; they are on the CPU."""
        raw = self._all("logits", list(tokens), list(segments), list(rows))[0][1]
        return Logits(tensor_from(raw, torch.float32, (len(rows), self._config.vocab_size)))

    def read(self, block: int) -> Tensor:
        """See `Executor.read`."""
        message = ("read", (block,))
        answers = self._ask(dict.fromkeys(self._holders(), message))
        parts = [tensor_from(raw, self.dtype, self._block_shape) for _, raw in answers.values()]
        return torch.cat(parts, dim=3)

    def load(self, block: int, content: Tensor) -> None:
        """See `Executor.load`."""
        heads = self._block_shape[3]
        message = ("load", (block,))
        parts = [content.narrow(3, split.kv_head, heads).contiguous() for split in self._splits]
        self._ask(dict.fromkeys(range(len(self._ranks)), message), parts)

    def close(self) -> None:
        """End the ranks."""
        with self._lock:
            self._closed = True
            self._end()

    def _holders(self) -> list[int]:
        """Ranks that hold all key heads together, each head once."""
        copies = max(1, len(self._ranks) // self._config.kv_heads)
        return list(range(0, len(self._ranks), copies))

    def _all(self, command: str, *arguments: Any) -> dict[int, tuple[Any, bytearray]]:
        return self._ask(dict.fromkeys(range(len(self._ranks)), (command, arguments)))

    def _ask(
        self,
        messages: dict[int, Any],
        tensors: Sequence[Tensor] | None = None,
        seconds: float | None = None,
    ) -> dict[int, tuple[Any, bytearray]]:
        """Send a message to each of some ranks and wait for all answers, in the order of the ranks."""
        seconds = seconds or self._seconds
        deadline = time.monotonic() + seconds
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise EngineDeadError("the engine is closed and takes no requests")
            answers: dict[int, tuple[Any, bytearray]] = {}
            rank = -1
            try:
                for rank, message in messages.items():
                    self._channel(rank).send(message, tensors[rank] if tensors else None, deadline)
                while len(answers) < len(messages):
                    waiting = [rank for rank in messages if rank not in answers]
                    for rank in self._ready(waiting, deadline):
                        answers[rank] = self._channel(rank).receive(deadline)
                        if isinstance(answers[rank][0], Exception):
                            raise self._failed(rank, answers[rank][0])
            except TimeoutError:
                waiting = [each for each in messages if each not in answers]
                raise self._silent(waiting, seconds) from None
            except (EOFError, OSError) as error:
                raise self._failed(rank, error) from error
        return {rank: answers[rank] for rank in messages}

    def _ready(self, ranks: list[int], deadline: float) -> list[int]:
        channels = {self._channel(rank).fileno(): rank for rank in ranks}
        poll = select.poll()
        for number in channels:
            poll.register(number, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            if found := poll.poll(min(left, _LOOK_SECONDS) * 1000):
                return [channels[number] for number, _ in found]
            # A process forked off this one may hold a dead rank's socket open.
            if self._deaths():
                raise EOFError
        raise TimeoutError

    def _channel(self, rank: int) -> Channel:
        return self._ranks[rank][1]

    def _failed(self, rank: int, error: Exception) -> ModelError:
        """End everything because of what a rank said, or because it says nothing any more."""
        patience = time.monotonic() + _GRACE_SECONDS
        while not (dead := self._deaths()) and time.monotonic() < patience:
            time.sleep(0.02)
        if dead:
            return self._fail("; ".join(dead))
        if isinstance(error, ModelError) and self._loading:
            self._fail(f"rank {rank} of {len(self._ranks)}: {error}")
            return error
        return self._fail(f"rank {rank} of {len(self._ranks)} failed: {error}")

    def _silent(self, waiting: list[int], seconds: float) -> ModelError:
        # A rank may be stopped within the same collective in which the others wait for it.
        late = [rank for rank in waiting if stopped(self._ranks[rank])]
        late = late or [rank for rank in self._progress.behind() if rank in waiting] or waiting
        names = ", ".join(str(rank) for rank in late)
        return self._fail(
            f"rank {names} of {len(self._ranks)} gave no sign of life within {seconds:g} seconds "
            "(process_seconds)"
        )

    def _deaths(self) -> list[str]:
        codes = [(rank, process.poll()) for rank, (process, _) in enumerate(self._ranks)]
        count = len(codes)
        return [f"rank {rank} of {count} {ending(code)}" for rank, code in codes if code is not None]

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
) -> tuple[ParallelExecutor, int]:
    """As `model.loading.load_executor`, over `options.processes` processes.

    "packed" weights of few bits become dense ones: their blocks cannot be cut by columns everywhere.
    """
    ranks = ParallelExecutor(checkpoint, config, device, dtype, options, int8=weights == "int8")
    return ranks, count_parameters(config)
