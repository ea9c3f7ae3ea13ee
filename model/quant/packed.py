"""Layers whose weights stay as small as in the file: GGUF's 4-, 6- and 8-bit blocks, and 8 bits of any model.

Few rows go to the kernel, which reads the packed weights once, and so do many where it has tiles (AMX).
Otherwise a matrix is unpacked for them into memory that the next one reuses: their product is bound by
arithmetic, where torch is at the processor's limit.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.llama.layers import Projection
from model.native import FEW_ROWS, kernels
from model.native.matrix import Arena, Codes, Matrix, pack, packs, quantise
from model.weights.codes import KINDS, codes
from model.weights.gguf import GGUFFile
from model.weights.mapping import Cut, Placement, fill, give_memory

_SLAB = 1 << 20
"""Weights that are quantised at once."""


class _Spare(threading.local):
    """One unpacked matrix for each dtype and thread: an engine runs one pass at a time, but two may run."""

    def __init__(self) -> None:
        self.rooms: dict[torch.dtype, Tensor] = {}


_spare = _Spare()


class PackedLinear(nn.Module):
    """x Wᵀ with a packed W [out, in]."""

    def __init__(self, matrix: Matrix) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, x: Tensor) -> Tensor:
        """[n, in] -> [n, out]."""
        return self.project(x, x.dtype)

    def project(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """The same in another dtype; logits are wanted in float32."""
        if len(x) <= FEW_ROWS or kernels.takes_many(self.matrix, x.dtype):
            return kernels.linear(x, self.matrix, dtype)
        size = self.matrix.rows * self.matrix.cols
        room = _spare.rooms.get(x.dtype)
        if room is None or len(room) < size:
            room = _spare.rooms[x.dtype] = torch.empty(size, dtype=x.dtype)
        weight = kernels.unpack(self.matrix, room[:size].view(self.matrix.rows, self.matrix.cols))
        return F.linear(x, weight).to(dtype)


class PackedEmbedding(PackedLinear):
    """Rows by token id, and the head of a tied model."""

    def __init__(self, matrix: Matrix, dtype: torch.dtype) -> None:
        super().__init__(matrix)
        self._dtype = dtype

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids [n] -> [n, hidden]."""
        return kernels.take(self.matrix, tokens, self._dtype)


def keep_packed(model: nn.Module, file: GGUFFile, placements: dict[str, Placement]) -> set[str]:
    """Replace every layer whose tensors are all quantised in one format by one that holds them as they are.

    Args:
        model: on the meta device, in the dtype of the activations.

    Returns:
        Names of the parameters that are gone; the others are to be filled as ever.
    """
    sources: dict[str, list[tuple[Placement, str]]] = defaultdict(list)
    for name, place in placements.items():
        sources[place.parameter].append((place, name))
    arena, gone = Arena(), set()
    for parameter, parts in sources.items():
        forms = {file.form(name) for _, name in parts}
        form = next(iter(forms))
        weight = model.get_parameter(parameter)
        whole = len(forms) == 1 and form in KINDS and not any(place.weave for place, _ in parts)
        shapes_match = all(file.shape(name) == (place.rows, *weight.shape[1:]) for place, name in parts)
        # A wrong shape is left to the filling, which says what is wrong with it.
        if not (whole and shapes_match and packs(weight.shape[1], KINDS[form])):
            continue
        parts.sort(key=lambda part: part[0].first)
        raw = torch.cat([file.raw(name) for _, name in parts])
        _replace(model, parameter, pack(codes(form, raw), arena))
        gone.add(parameter)
    return gone


def quantise_layers(
    model: nn.Module, placements: dict[str, Placement], read: Callable[[str], Tensor], cut: Cut | None = None
) -> dict[str, Placement]:
    """Replace linear layers and the embedding by 8-bit ones (see `matrix.quantise`), filled one by one.

    A matrix is rounded to the dtype of the activations first. No more than one is in memory in that form.

    Args:
        model: on the meta device, in the dtype of the activations.
        placements, read, cut: see `mapping.fill`.

    Returns:
        The placements of what is still to be filled.

    Raises:
        CheckpointError: as `mapping.fill`.
    """
    arena, left = Arena(), dict[str, Placement]()
    sources: dict[str, dict[str, Placement]] = defaultdict(dict)
    for name, place in placements.items():
        sources[place.parameter][name] = place
    for parameter, parts in sources.items():
        owner = model.get_submodule(parameter.rpartition(".")[0])
        if isinstance(owner, Projection) and packs(owner.weight.shape[1], "q8"):
            give_memory(owner, "cpu")
            fill(model, parts, read, cut)
            _replace(model, parameter, pack(_quantised(owner.weight), arena))
        else:
            left |= parts
        del owner  # before the next one takes its memory
    return left


def _quantised(weight: Tensor) -> Codes:
    """`matrix.quantise`, some rows at a time: it makes float32 copies."""
    rows = [quantise(part) for part in torch.split(weight, max(1, _SLAB // weight.shape[1]))]
    return Codes("q8", torch.cat([each.values for each in rows]), torch.cat([each.scales for each in rows]))


def _replace(model: nn.Module, parameter: str, matrix: Matrix) -> None:
    path = parameter.removesuffix(".weight")
    above, _, name = path.rpartition(".")
    owner: Any = model.get_submodule(above)
    old = model.get_submodule(path)
    dtype = model.get_parameter(parameter).dtype
    made = PackedEmbedding(matrix, dtype) if isinstance(old, nn.Embedding) else PackedLinear(matrix)
    setattr(owner, name, made)
