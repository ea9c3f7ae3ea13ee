"""What is assumed about machines that are not here: from their makers' and the models' publications, not
measured.

NVIDIA H100 SXM (data sheet): 989 TFLOP/s in bfloat16 without sparsity, 3.35 TB/s, 80 GB. How much of that an
engine reaches is assumed as well. Shapes of the models: the configurations that Meta published.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.scale.engine import Shape
from bench.scale.pace import GpuPace

FLOPS, BANDWIDTH, MEMORY = 989e12, 3.35e12, 80e9
REACHED_FLOPS, REACHED_BANDWIDTH, REACHED_MEMORY = 0.5, 0.7, 0.9
WORKSPACE_BYTES = 2e9
"""Memory of a GPU beside weights and KV cache."""
BLOCK = 256
SERVER_SPEED = 1.0
"""A server's core beside the one that was measured."""
SEARCH_SPREAD = 0.25
"""Standard deviation of the logarithm of a shard's time for a search: the slowest of many is waited for."""
DATABASE_CORES = 64
"""Of the largest usual machine for one PostgreSQL."""
DATABASE_COMMITS = 20_000
"""Commits a second that one PostgreSQL writes out, with a fast disk and group commit."""
BUSY = 0.7
"""How busy what waits for nobody is planned to be."""


@dataclass(frozen=True)
class Model:
    """A model on so many H100s.

    Attributes:
        weight_bytes: of all weights in bfloat16.
        overhead: seconds of a step beside its work: launches, sampling, sums over GPUs.
    """

    name: str
    gpus: int
    parameters: float
    layers: int
    width: int
    kv_bytes: float
    overhead: float

    @property
    def pace(self) -> GpuPace:
        """How long its steps take."""
        return GpuPace(
            self.parameters,
            2 * self.parameters,
            self.kv_bytes,
            self.layers,
            self.width,
            self.gpus * FLOPS * REACHED_FLOPS,
            self.gpus * BANDWIDTH * REACHED_BANDWIDTH,
            self.overhead,
        )

    @property
    def shape(self) -> Shape:
        """Its engine's options, with what memory is left as KV blocks."""
        left = self.gpus * (MEMORY * REACHED_MEMORY - WORKSPACE_BYTES) - 2 * self.parameters
        return Shape(BLOCK, 2048, 8192, 64, int(left / self.kv_bytes / BLOCK))


MODELS = (
    Model("Llama 3.1 8B", 1, 8.03e9, 32, 4096, 131_072, 0.001),
    Model("Llama 3.1 70B", 4, 70.6e9, 80, 8192, 327_680, 0.003),
)
