"""What a model needs on each GPU, and what fits: weights, keys and values, activations, logits, reserve.

Nothing is loaded. Weights are counted on the engine's own modules on the meta device, everything else by the
formulas below; tests compare both with what is really allocated.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, Literal, get_args

import torch

from model.errors import ParameterError
from model.llama.config import LlamaConfig
from model.llama.transformer import Transformer
from model.options import EngineOptions
from model.stages import cut_layers, idle_share

WeightKind = Literal["bf16", "fp8", "int8"]
KVKind = Literal["bf16", "fp8", "int8"]

BLOCK = EngineOptions().block_size
"""Tokens in a KV block."""
STEP = EngineOptions().step_tokens_on("cuda")
"""Tokens in a forward pass on a GPU: all of a step."""
CHUNK = EngineOptions().chunk_on("cuda")
"""Prompt tokens in a pass through several stages."""
ROWS = 32
"""Rows of logits that are held at a time."""
RESERVE = 0.05
"""Share of a GPU's memory for the CUDA context, NCCL's buffers, workspaces and gaps between allocations."""


@dataclass(frozen=True)
class Deployment:
    """What is asked.

    Attributes:
        gpus: over which each layer is split by tensor parallelism.
        gpu_memory: bytes of each.
        context: tokens of a sequence, answer included.
        sequences: how many of that length at a time.
        dtype: "bf16"; "fp8": gate, up and down of all layers but the first and the last, as in
            Llama-3.1-405B-FP8; "int8": every matrix inside the layers. Both with a float32 scale a row.
        kv: of keys and values; int8 with a float32 scale for every token and head.
        step_tokens: in a forward pass, which may be of several sequences.
        stages: groups of so many GPUs, over which the layers are dealt out by pipeline parallelism.
    """

    gpus: int
    gpu_memory: int
    context: int
    sequences: int = 1
    dtype: WeightKind = "bf16"
    kv: KVKind = "bf16"
    step_tokens: int = STEP
    stages: int = 1

    def __post_init__(self) -> None:
        for name in ("gpus", "gpu_memory", "context", "sequences", "step_tokens", "stages"):
            if getattr(self, name) < 1:
                raise ParameterError(f"{name} is {getattr(self, name)}; allowed: at least 1")
        for name, kinds in (("dtype", get_args(WeightKind)), ("kv", get_args(KVKind))):
            if getattr(self, name) not in kinds:
                raise ParameterError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(kinds)}")


@dataclass(frozen=True)
class StageNeeds:
    """Layers of a stage, first and one past the last, and bytes on each of its GPUs, as in `Plan`."""

    layers: tuple[int, int]
    weights: int
    kv_token: int
    kv: int
    needed: int
    room: int


@dataclass(frozen=True)
class Plan:
    """The answer; every size is bytes on one GPU of the stage that needs most.

    Attributes:
        deployment: what was asked.
        parameters: of the whole model.
        kv_heads: key heads on a GPU; more than the model's share where there are more GPUs than key heads.
        replication: on how many GPUs each key head is held.
        kv_token: keys and values of one token.
        kv: of all sequences at the context asked for, in whole blocks.
        rotation: the table of rotations up to the model's window.
        activations: the most that a forward pass holds at a time.
        needed: the sum.
        largest_context: tokens of a single sequence that fit, at most the model's window.
        most_sequences: how many sequences of the context asked for fit.
        stages: what each stage needs.
        idle_reading: share of the time that a stage waits for others while one prompt of the context is read.
        idle_writing: the same while answers are written.
    """

    deployment: Deployment
    parameters: int
    kv_heads: int
    replication: int
    weights: int
    kv_token: int
    kv: int
    rotation: int
    activations: int
    logits: int
    reserve: int
    needed: int
    largest_context: int
    most_sequences: int
    stages: tuple[StageNeeds, ...]
    idle_reading: float
    idle_writing: float

    @property
    def fits(self) -> bool:
        """Whether the sequences asked for fit."""
        return self.needed <= self.deployment.gpu_memory

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {**asdict(self), "fits": self.fits}


def plan(config: LlamaConfig, deployment: Deployment) -> Plan:
    """Work out what a model needs.

    Raises:
        ParameterError: the model cannot be split over so many GPUs or stages, or was not made for such a
            context.
    """
    if deployment.context > config.context_length:
        raise ParameterError(
            f"context is {deployment.context}; the model's window is {config.context_length}"
        )
    part = shard(config, deployment.gpus)
    activations = activation_bytes(part, deployment.step_tokens, deployment.dtype)
    logits = logit_bytes(config, ROWS)
    reserve = int(RESERVE * deployment.gpu_memory)
    rotation = rotation_bytes(config)
    blocks = -(-deployment.context // BLOCK)
    stages = []
    for layers in cut_layers(config.layers, deployment.stages):
        weights = weight_bytes(part, deployment.dtype, layers)
        kv_token = kv_token_bytes(replace(part, layers=layers[1] - layers[0]), deployment.kv)
        kv = deployment.sequences * blocks * BLOCK * kv_token
        needed = weights + rotation + activations + logits + reserve + kv
        room = room_for_kv(
            part, deployment.step_tokens, memory=deployment.gpu_memory, weights=weights,
            words=config.vocab_size, outside=0, size=2, dtype=deployment.dtype,
        )  # fmt: skip
        stages.append(StageNeeds(layers, weights, kv_token, kv, needed, room))
    fullest = max(stages, key=lambda each: each.needed)
    # What is asked of one stage is asked of all.
    fitting = min(each.room // (BLOCK * each.kv_token) for each in stages)
    steps = min(-(-deployment.context // CHUNK), deployment.stages * max(1, deployment.step_tokens // CHUNK))
    return Plan(
        deployment=deployment,
        parameters=count_parameters(config),
        kv_heads=part.kv_heads,
        replication=max(1, deployment.gpus // config.kv_heads),
        weights=fullest.weights,
        kv_token=fullest.kv_token,
        kv=fullest.kv,
        rotation=rotation,
        activations=activations,
        logits=logits,
        reserve=reserve,
        needed=fullest.needed,
        largest_context=min(config.context_length, fitting * BLOCK),
        most_sequences=fitting // blocks,
        stages=tuple(stages),
        idle_reading=idle_share(deployment.stages, steps),
        idle_writing=idle_share(deployment.stages, 1),
    )


def room_for_kv(
    part: LlamaConfig, step_tokens: int, *, memory: int, weights: int, words: int, outside: int, size: int,
    dtype: WeightKind,
) -> int:  # fmt: skip
    """Bytes of a GPU that a loaded part of a model leaves to keys and values; at least 0.

    Args:
        words: of the whole model's vocabulary.
        outside: what the CUDA context and other processes hold already. It is part of the reserve, of which
            half is kept free in any case.
        size: bytes of an activation.
    """
    reserve = max(int(RESERVE * memory), outside + int(RESERVE * memory / 2))
    working = (
        rotation_bytes(part)
        + activation_bytes(part, step_tokens, dtype, size)
        + logit_bytes(replace(part, vocab_size=words), ROWS, size)
    )
    return max(0, memory - weights - working - reserve)


def shard(config: LlamaConfig, gpus: int) -> LlamaConfig:
    """The shape of one GPU's part: heads, feed-forward rows and words are split, hidden states are not.

    A key head that cannot be split goes to every GPU whose query heads use it.

    Raises:
        ParameterError: a size cannot be divided evenly.
    """
    if config.heads % gpus or config.ffn_size % gpus:
        raise ParameterError(
            f"gpus is {gpus}; allowed: divisors of {math.gcd(config.heads, config.ffn_size)}, which split "
            f"{config.heads} query heads and {config.ffn_size} feed-forward rows"
        )
    if config.kv_heads % gpus and gpus % config.kv_heads:
        raise ParameterError(f"gpus is {gpus}; {config.kv_heads} key heads can be neither split nor repeated")
    return replace(
        config,
        heads=config.heads // gpus,
        kv_heads=max(1, config.kv_heads // gpus),
        ffn_size=config.ffn_size // gpus,
        vocab_size=-(-config.vocab_size // gpus),
    )


@cache
def _shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(each.shape) for name, each in Transformer(config).named_parameters()}


def count_parameters(config: LlamaConfig) -> int:
    """Weights of the whole model, a tied head counted once."""
    return sum(math.prod(shape) for shape in _shapes(config).values())


def weight_bytes(part: LlamaConfig, dtype: WeightKind, layers: tuple[int, int] | None = None) -> int:
    """Bytes of one GPU's weights, scales included.

    Args:
        layers: first and one past the last of a stage, which has the embedding or the head where it has the
            first or the last of all.
    """
    first, last = layers or (0, part.layers)
    total = 0
    for name, shape in _shapes(part).items():
        kind, _, rest = name.partition(".")
        if kind == "blocks":
            held = first <= int(rest.partition(".")[0]) < last
        elif kind == "embed":
            held = first == 0 or (part.tied and last == part.layers)
        else:  # norm and head
            held = last == part.layers
        if not held:
            continue
        total += math.prod(shape) * 2
        if len(shape) == 2 and is_quantised(name, part.layers, dtype):
            total += shape[0] * 4 - math.prod(shape)
    return total


def is_quantised(name: str, layers: int, dtype: WeightKind) -> bool:
    """Whether a matrix of `Transformer`, by its parameter's name, is stored in 8 bits."""
    if dtype == "bf16" or not name.startswith("blocks."):
        return False
    if dtype == "int8":
        return True
    _, layer, module, *_ = name.split(".")
    return module == "ffn" and int(layer) not in {0, layers - 1}


def kv_token_bytes(part: LlamaConfig, kind: KVKind) -> int:
    """Bytes of one token's keys and values in all layers on one GPU."""
    head = {"bf16": 2 * part.head_dim, "fp8": part.head_dim, "int8": part.head_dim + 4}[kind]
    return 2 * part.layers * part.kv_heads * head


def rotation_bytes(config: LlamaConfig) -> int:
    """A complex64 for each pair of a head's elements and each position of the window."""
    return config.context_length * config.head_dim // 2 * 8


def activation_bytes(part: LlamaConfig, rows: int, dtype: WeightKind = "bf16", size: int = 2) -> int:
    """The most that a forward pass over `rows` tokens holds at a time, the KV cache aside.

    Attention is taken to need its result and a log-sum-exp only, as flash-attention does. Either the rotation
    in float32 is the peak, or the feed-forward part. Beside what a part needs there is the stream.

    Args:
        size: bytes of an activation; 2 in bfloat16.
    """
    hidden, ffn, heads = part.hidden_size, part.ffn_size, part.heads
    queries, keys = heads * part.head_dim, part.kv_heads * part.head_dim
    qkv, rotated = size * (queries + 2 * keys), size * (queries + keys)
    # A float32 copy, and the product, where activations are not float32 themselves.
    turning = size * hidden + qkv + (4 if size == 4 else 8) * (queries + keys) + (0 if size == 4 else rotated)
    attending = size * hidden + qkv + rotated + size * (queries + hidden) + 4 * heads
    # Normed rows, gate and up, and silu(gate) on the way in; the product and its sums on the way out.
    feeding = size * max(hidden + 3 * ffn, hidden + ffn + hidden)
    if dtype == "fp8":
        # Rows are divided by their scale and clamped in float32 before they are rounded to one byte.
        feeding = max(feeding, (size + 8) * hidden, size * (hidden + ffn) + 8 * ffn)
    # A norm in single steps holds three float32 copies, or squares and result; a fused kernel, which not all
    # devices have, its result.
    norming = size * hidden + (8 if size == 4 else 12) * hidden
    peak = size * hidden + max(turning, attending, feeding, norming)
    # Rotations of these positions (complex64), token ids, slots and positions.
    return rows * (peak + 4 * part.head_dim + 24)


def logit_bytes(config: LlamaConfig, rows: int, size: int = 2) -> int:
    """Logits of `rows` positions as they are computed and in float32, and the normed hidden states."""
    words = 4 if size == 4 else size + 4
    return rows * (words * config.vocab_size + size * config.hidden_size)
