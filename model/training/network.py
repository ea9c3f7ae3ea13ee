"""The decoder with gradients: the same weights and sums as `model.llama.transformer`, in plain torch.

The engine's own layers write into a KV cache and change what they read in place, so nothing flows back
through them. Here a pass is a few sequences end to end; what all of them begin with is computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.llama.config import LlamaConfig
from model.llama.rope import Rope, rotate
from model.llama.transformer import Block, Transformer
from model.training.batches import Example, shared_prefix
from model.training.lora import MATRICES, Adapter, LoRA


class Packed:
    """Examples end to end, as one pass reads them: `shared` tokens once, then what is each example's own.

    Attributes:
        ids, positions: [n].
        lengths: of each example's own part.
        rows: where a token of an answer is predicted, [m]; `labels` are these tokens, `weights` what each
            counts for.
    """

    def __init__(self, examples: Sequence[Example], device: torch.device) -> None:
        self.shared = shared_prefix([each.prompt for each in examples])
        ids: list[int] = list(examples[0].prompt[: self.shared])
        positions = list(range(self.shared))
        rows: list[int] = []
        labels: list[int] = []
        weights: list[float] = []
        self.lengths: list[int] = []
        for each in examples:
            own = [*each.prompt, *each.answer[:-1]][self.shared :]
            first = len(ids) + len(each.prompt) - self.shared - 1
            rows += range(first, first + len(each.answer))
            labels += each.answer
            weights += [each.weight * each.first, *([each.weight] * (len(each.answer) - 1))]
            ids += own
            positions += range(self.shared, self.shared + len(own))
            self.lengths.append(len(own))
        self.ids = torch.tensor(ids, device=device)
        self.positions = positions
        self.rows = torch.tensor(rows, device=device)
        self.labels = torch.tensor(labels, device=device)
        self.weights = torch.tensor(weights, device=device)

    def masks(self, dtype: torch.dtype) -> list[Tensor]:
        """For each example what its own tokens must not see of `shared` and own ones: 0 or -inf,
        [length, shared + length]."""
        found: dict[int, Tensor] = {}
        for length in self.lengths:
            if length not in found:
                hidden = torch.full((length, self.shared + length), -torch.inf, device=self.ids.device)
                found[length] = hidden.triu(self.shared + 1).to(dtype)
        return [found[length] for length in self.lengths]


class Network(nn.Module):
    """A transformer whose matrices are trained whole, or whose adapters are.

    Attributes:
        adapters: by the name of their matrix; none where the model is trained whole.
    """

    def __init__(
        self, weights: Transformer, config: LlamaConfig, rope: Rope, *, lora: LoRA | None, seed: int = 0
    ) -> None:
        """`weights` become this network's own: without `lora` they are made float32 and trained, all but the
        embedding and, where it is tied, the head. With it they stay as they are."""
        super().__init__()
        self.config = config
        self.dtype = weights.norm.weight.dtype
        self._rope = rope
        self.weights = weights
        self.adapters = nn.ModuleDict()
        if lora is not None:
            weights.requires_grad_(False)
            random = torch.Generator().manual_seed(seed)
            for name, matrix in self._matrices():
                rows, columns = matrix.shape
                adapter = Adapter(rows, columns, lora, random).to(matrix.device)
                self.adapters[name.replace(".", "/")] = adapter
        else:
            for name, weight in weights.named_parameters():
                frozen = name == "embed.weight"
                weight.data = weight.data if frozen else weight.data.float()
                weight.requires_grad_(not frozen)

    def _matrices(self) -> Iterator[tuple[str, Tensor]]:
        for layer, block in enumerate(self.weights.blocks):
            for name in MATRICES:
                yield f"{layer}.{name}", block.get_parameter(f"{name}.weight")

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """What is trained, by name."""
        return {name: each for name, each in self.named_parameters() if each.requires_grad}

    def loss(self, packed: Packed) -> tuple[Tensor, float]:
        """The weighted sum of the answers' cross-entropies, in nats, and the sum of the weights."""
        logits = self(packed)
        each = F.cross_entropy(logits.float(), packed.labels, reduction="none")
        return (each * packed.weights).sum(), float(packed.weights.sum())

    def forward(self, packed: Packed) -> Tensor:
        """Logits [m, vocab] of the rows where a token of an answer is predicted, in the network's dtype."""
        x = F.embedding(packed.ids, self.weights.embed.weight)
        table = self._rope.table(packed.positions)
        masks = packed.masks(self.dtype)
        block: Block
        for layer, block in enumerate(self.weights.blocks):  # type: ignore[assignment]
            x = x + self._attention(layer, block, self._norm(x, block.attention_norm), table, packed, masks)
            gate, up = self._linear(layer, "ffn.gate_up", block, self._norm(x, block.ffn_norm)).chunk(2, -1)
            x = x + self._linear(layer, "ffn.down", block, F.silu(gate) * up)
        x = self._norm(x[packed.rows], self.weights.norm)
        head = self.weights.embed if self.weights.output is None else self.weights.output
        return F.linear(x, head.weight.to(self.dtype))

    def _norm(self, x: Tensor, norm: nn.RMSNorm) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], norm.weight.to(x.dtype), norm.eps)

    def _linear(self, layer: int, name: str, block: Block, x: Tensor) -> Tensor:
        y = F.linear(x, block.get_submodule(name).weight.to(x.dtype))  # type: ignore[arg-type]
        key = f"{layer}.{name}".replace(".", "/")
        return y + self.adapters[key](x) if key in self.adapters else y

    def _attention(  # noqa: PLR0917
        self, layer: int, block: Block, x: Tensor, table: Tensor, packed: Packed, masks: Sequence[Tensor]
    ) -> Tensor:
        config, shared = self.config, packed.shared
        rows = config.heads + config.kv_heads
        qkv = self._linear(layer, "attention.qkv", block, x).view(len(x), -1, config.head_dim)
        turned = rotate(qkv[:, :rows], table)
        q, k, v = turned[:, : config.heads], turned[:, config.heads :], qkv[:, rows:]
        # split, not sliced: the gradient of a slice is as large as what it was cut from
        parts = [shared, *packed.lengths]
        (q_all, *q_own), (k_all, *k_own), (v_all, *v_own) = (torch.split(each, parts) for each in (q, k, v))
        mixed: list[Tensor] = []
        if shared:
            mask = torch.full((shared, shared), -torch.inf, device=x.device).triu(1).to(x.dtype)
            mixed.append(attend(q_all, k_all, v_all, mask))
        for queries, keys, values, mask in zip(q_own, k_own, v_own, masks, strict=True):
            before = (torch.cat((k_all, keys)), torch.cat((v_all, values))) if shared else (keys, values)
            mixed.append(attend(queries, *before, mask))
        joined = torch.cat(mixed).reshape(len(x), config.heads * config.head_dim)
        return self._linear(layer, "attention.out", block, joined)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Grouped-query attention of one sequence, as three products.

    torch's fused kernels are no faster backwards on a CPU at these lengths.

    Args:
        q: [n, heads, head_dim]; k, v: [m, kv_heads, head_dim]; mask: [n, m], added to the scores.

    Returns:
        [n, heads, head_dim].
    """
    n, heads, width = q.shape
    m, groups, _ = k.shape
    share = heads // groups
    queries = (q * width**-0.5).view(n, groups, share, width).permute(1, 2, 0, 3).reshape(groups, -1, width)
    scores = torch.bmm(queries, k.permute(1, 2, 0)).view(groups, share, n, m) + mask
    chances = scores.softmax(-1).view(groups, share * n, m)
    mixed = torch.bmm(chances, v.transpose(0, 1)).view(groups, share, n, width)
    return mixed.permute(2, 0, 1, 3).reshape(n, heads, width)
