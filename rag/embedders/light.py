"""The bundled multilingual-e5-small for a CPU, without the libraries that would only build its modules.

They take seconds to import and more memory than the model; the weights and the arithmetic are those of
`bundled.py`, which makes them a sentence-transformers pipeline for a GPU.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rag.embedders.packed import PackedEncoder
from rag.embedders.q4file import BLOCK_BYTES, Q4File
from rag.embedders.unigram import UnigramTokenizer

_LAYER_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


class QuantisedEmbedding(nn.Module):
    """An embedding table kept as Q4_0 blocks, uint8[rows, blocks * 18]; rows are dequantised when read."""

    def __init__(self, blocks: NDArray[Any], dtype: torch.dtype) -> None:
        super().__init__()
        self.table = torch.from_numpy(blocks)
        self.out_dtype = dtype

    def forward(self, ids: Tensor) -> Tensor:
        """Turn ids[...] into embeddings[..., hidden]."""
        rows = self.table[ids.cpu()].reshape(*ids.shape, -1, BLOCK_BYTES)
        scales = rows[..., :2].contiguous().view(torch.float16).float()
        nibbles = torch.cat([rows[..., 2:] & 15, rows[..., 2:] >> 4], dim=-1).float() - 8.0
        return (nibbles * scales).flatten(-2).to(ids.device, self.out_dtype)


def weights(file: Q4File, dtype: torch.dtype) -> dict[str, Tensor]:
    """Every tensor but the table of token embeddings, by its name in a BertModel of transformers."""
    shape = file.shape
    hidden, ffn = shape.hidden, shape.ffn
    sizes = {"fi": (ffn, hidden), "fo": (hidden, ffn)}
    found = {
        "embeddings.position_embeddings.weight": file.tensor("emb.pos", shape.positions, hidden),
        "embeddings.token_type_embeddings.weight": file.tensor("emb.type", shape.types, hidden),
        "embeddings.LayerNorm.weight": file.tensor("emb.ln.w", hidden),
        "embeddings.LayerNorm.bias": file.tensor("emb.ln.b", hidden),
    }
    for layer in range(shape.layers):
        for short, name in _LAYER_NAMES.items():
            rows, columns = sizes.get(short, (hidden, hidden))
            weight = (rows,) if short.endswith("ln") else (rows, columns)
            target = f"encoder.layer.{layer}.{name}"
            found[f"{target}.weight"] = file.tensor(f"l{layer}.{short}.w", *weight)
            found[f"{target}.bias"] = file.tensor(f"l{layer}.{short}.b", rows)
    return {name: torch.from_numpy(array).to(dtype) for name, array in found.items()}


class LightPipeline:
    """What an embedder needs of a pipeline: the encoder, which pools by mean, and the tokeniser."""

    def __init__(self, file: Q4File, dtype: torch.dtype) -> None:
        shape = file.shape
        self.unigram = UnigramTokenizer(file.pieces, file.normaliser)
        self.max_seq_length = shape.positions
        self.dimension = shape.hidden
        model = _tree(weights(file, dtype))
        model.config = SimpleNamespace(num_attention_heads=shape.heads, layer_norm_eps=shape.eps)
        model.embeddings.word_embeddings = QuantisedEmbedding(
            file.blocks("emb.word", shape.vocabulary), dtype
        )
        model.encoder.layer = [getattr(model.encoder.layer, str(n)) for n in range(shape.layers)]
        self.packed = PackedEncoder(model, "mean", first_place=0)


def _tree(tensors: dict[str, Tensor]) -> Any:
    """The tensors as attributes, as a module of transformers has them: `a.b.c` is c of b of a."""
    root = SimpleNamespace()
    for name, tensor in tensors.items():
        *inner, last = name.split(".")
        at = root
        for part in inner:
            if not hasattr(at, part):
                setattr(at, part, SimpleNamespace())
            at = getattr(at, part)
        setattr(at, last, tensor)
    return root
