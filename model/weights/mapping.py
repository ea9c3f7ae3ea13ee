"""Where each tensor of a checkpoint goes: rows of one of our parameters, for every naming scheme.

Our layout: q, k and v stacked in one matrix, gate and up in another; q and k rows interleaved inside a
head as in Meta's files (see `model.llama.rope`). Hugging Face files hold each head's real parts first and
imaginary parts second, so their rows are woven; Meta's are as they are here, and so are GGUF's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.errors import CheckpointError
from model.llama.config import LlamaConfig


@dataclass(frozen=True)
class Placement:
    """A source tensor fills rows first … first + rows of `parameter`.

    Attributes:
        weave: number of heads whose half-split rows are to be interleaved, 0 for none.
    """

    parameter: str
    first: int
    rows: int
    weave: int = 0


Sources = tuple[dict[str, Placement], Callable[[str], Tensor]]
"""Where each tensor of a checkpoint goes, and what reads one by its name (KeyError where there is none)."""


@dataclass(frozen=True)
class _Names:
    embed: str
    norm: str
    output: str
    block: str
    attention_norm: str
    q: str
    k: str
    v: str
    out: str
    ffn_norm: str
    gate: str
    up: str
    down: str


_HF = _Names(
    "model.embed_tokens", "model.norm", "lm_head", "model.layers", "input_layernorm",
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip
_GGUF = _Names(
    "token_embd", "output_norm", "output", "blk", "attn_norm", "attn_q", "attn_k", "attn_v",
    "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down",
)  # fmt: skip
_META = _Names(
    "tok_embeddings", "norm", "output", "layers", "attention_norm", "attention.wq", "attention.wk",
    "attention.wv", "attention.wo", "ffn_norm", "feed_forward.w1", "feed_forward.w3", "feed_forward.w2",
)  # fmt: skip


def hf_placements(config: LlamaConfig) -> dict[str, Placement]:
    """By tensor name of a Hugging Face Llama checkpoint."""
    return dict(_placements(config, _HF, weave=True))


def gguf_placements(config: LlamaConfig) -> dict[str, Placement]:
    """By tensor name of a GGUF Llama checkpoint."""
    return dict(_placements(config, _GGUF, weave=False))


def meta_placements(config: LlamaConfig) -> dict[str, Placement]:
    """By tensor name of Meta's own checkpoints."""
    return dict(_placements(config, _META, weave=False))


def _placements(config: LlamaConfig, names: _Names, *, weave: bool) -> Iterator[tuple[str, Placement]]:
    hidden, ffn = config.hidden_size, config.ffn_size
    q_rows, kv_rows = config.heads * config.head_dim, config.kv_heads * config.head_dim
    yield f"{names.embed}.weight", Placement("embed.weight", 0, config.vocab_size)
    yield f"{names.norm}.weight", Placement("norm.weight", 0, hidden)
    if not config.tied:
        yield f"{names.output}.weight", Placement("output.weight", 0, config.vocab_size)
    q_weave, k_weave = (config.heads, config.kv_heads) if weave else (0, 0)
    for layer in range(config.layers):
        ours = f"blocks.{layer}"
        block = {
            names.attention_norm: Placement(f"{ours}.attention_norm.weight", 0, hidden),
            names.q: Placement(f"{ours}.attention.qkv.weight", 0, q_rows, q_weave),
            names.k: Placement(f"{ours}.attention.qkv.weight", q_rows, kv_rows, k_weave),
            names.v: Placement(f"{ours}.attention.qkv.weight", q_rows + kv_rows, kv_rows),
            names.out: Placement(f"{ours}.attention.out.weight", 0, hidden),
            names.ffn_norm: Placement(f"{ours}.ffn_norm.weight", 0, hidden),
            names.gate: Placement(f"{ours}.ffn.gate_up.weight", 0, ffn),
            names.up: Placement(f"{ours}.ffn.gate_up.weight", ffn, ffn),
            names.down: Placement(f"{ours}.ffn.down.weight", 0, hidden),
        }
        for name, placement in block.items():
            yield f"{names.block}.{layer}.{name}.weight", placement


Cut = Callable[[Placement, Tensor], tuple[Placement, Tensor]]
"""Takes a process's part of a tensor, and says where it goes in the process's part of the model."""


def give_memory(model: nn.Module, device: torch.device | str) -> None:
    """Give every tensor of the model memory on the device, without a value; gradients are not asked for.

    As `nn.Module.to_empty`, which goes by `torch.empty_like`; from `meta` that loads sympy, a second.
    """
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            empty = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
            module.register_parameter(name, nn.Parameter(empty, requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, torch.empty(buffer.shape, dtype=buffer.dtype, device=device))


def fill(
    model: nn.Module,
    placements: dict[str, Placement],
    read: Callable[[str], Tensor],
    cut: Cut | None = None,
) -> None:
    """Copy every placed tensor into the model, one at a time.

    Args:
        read: gives a tensor by its name in the checkpoint; raises KeyError where there is none.
        cut: for a model that is a part of the whole.

    Raises:
        CheckpointError: a tensor is missing, or its shape or its kind is not what the configuration says.
    """
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for name, place in placements.items():
            try:
                source = read(name)
            except KeyError as missing:
                raise CheckpointError(f"the checkpoint lacks the tensor {name}") from missing
            if cut is not None:
                place, source = cut(place, source)  # noqa: PLW2901
            target = tensors[place.parameter].narrow(0, place.first, place.rows)
            if source.shape != target.shape:
                found, wanted = tuple(source.shape), tuple(target.shape)
                raise CheckpointError(f"tensor {name} has shape {found}; the configuration asks for {wanted}")
            if source.dtype != target.dtype and 1 in (source.itemsize, target.itemsize):
                raise CheckpointError(
                    f"tensor {name} is {source.dtype}, not {target.dtype}: "
                    "its scales or its quantization_config are missing"
                )
            if place.weave:
                halves = source.view(place.weave, 2, -1, source.shape[1])
                source = halves.transpose(1, 2).reshape(source.shape)
            target.copy_(source)
