"""Options of an engine: how much memory it may take and how its steps are cut."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.errors import ParameterError
from model.kv.place import BlockPlace

GiB = 1 << 30


@dataclass(frozen=True)
class EngineOptions:
    """What an engine is told beside the model; every default suits one machine with a few users.

    Attributes:
        chunk: prompt tokens in a pass; prompts are cut, and reused, at its multiples. None: 256 on a CPU,
            where that many rows are as fast as any more and other people's tokens come between them; 2,048
            on a GPU.
        block_size: tokens in a KV block; divides `chunk`. flash-attn 2 wants a multiple of 256.
        kv_tokens: tokens that all requests together may hold. None: twice the model's window on a CPU, within
            a quarter of the memory; what is free after loading on a GPU.
        step_tokens: budget of a step; None: one chunk on a CPU, four on a GPU.
        most_running: most requests that hold KV blocks at a time.
        speculate: draft by prompt lookup where it pays.
        attention: a backend by name, or "auto".
        kv_folder: folder of the disk tier of the prefix cache; None for none.
        kv_memory_bytes, kv_disk_bytes: limits of the tiers in memory and on disk.
        kv_place: where engines share what they have read; None for none.
        processes: over how many each layer is split (tensor parallelism), each with a GPU of its own or a
            share of the CPU's threads.
        stages: over how many groups of so many processes the layers are dealt out (pipeline parallelism).
        process_seconds: how long one of them may take over a forward pass before it counts as dead.
    """

    chunk: int | None = None
    block_size: int = 256
    kv_tokens: int | None = None
    step_tokens: int | None = None
    most_running: int = 64
    speculate: bool = True
    attention: str = "auto"
    kv_folder: Path | None = None
    kv_memory_bytes: int = 0
    kv_disk_bytes: int = 4 * GiB
    kv_place: BlockPlace | None = None
    processes: int = 1
    stages: int = 1
    process_seconds: float = 300.0

    def __post_init__(self) -> None:
        counts = ("chunk", "block_size", "kv_tokens", "step_tokens", "most_running", "processes", "stages")
        for name in counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ParameterError(f"{name} is {value}; allowed: at least 1")
        if not self.process_seconds > 0:
            raise ParameterError(f"process_seconds is {self.process_seconds}; allowed: more than 0")
        if self.chunk is not None and self.chunk % self.block_size:
            raise ParameterError(
                f"chunk is {self.chunk}; allowed: multiples of block_size, which is {self.block_size}"
            )

    @property
    def world(self) -> int:
        """Processes of all stages together."""
        return self.processes * self.stages

    def chunk_on(self, device: str) -> int:
        """Prompt tokens in a pass on a device type."""
        if self.chunk is not None:
            return self.chunk
        # Whole blocks, whatever their size.
        return -(-(256 if device == "cpu" else 2048) // self.block_size) * self.block_size

    def step_tokens_on(self, device: str) -> int:
        """Budget of a step on a device type, for each stage: passes of one step follow each other through
        all of them, and the more there are, the less the stages wait."""
        chunk = self.chunk_on(device)
        return max(chunk, self.step_tokens or (chunk if device == "cpu" else 4 * chunk))
