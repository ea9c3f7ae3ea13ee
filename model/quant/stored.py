"""Safetensors checkpoints whose matrices are stored in 8 bits, with a scale for every row beside them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from model.errors import CheckpointError
from model.quant.fp8 import ACTIVATION_BOUND, E4M3, FP8Linear, dequantize_rows, has_fp8_units
from model.weights.mapping import Placement, Sources

_log = logging.getLogger(__name__)
_SUFFIX = "_scale"

FP8 = "fbgemm_fp8"
"""The published FP8 checkpoints: e4m3 weights, activations rounded to e4m3 too."""
INT8 = "longleaf_int8"
"""Our own: int8 weights, value = integer · scale of its row; activations are not rounded."""


class StoredRows:
    """Which matrices of a checkpoint are quantised, the layers that hold them, and how they are read.

    Which they are is read off the tensors: one that has `…weight_scale` beside it is quantised. The list
    `modules_to_not_convert` of the configuration names the others, and says nothing that they do not.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        placements: Mapping[str, Placement],
        holds: Callable[[str], bool],
        tensor: Callable[[str], Tensor],
    ) -> None:
        """Take a checkpoint's parts.

        Args:
            config: its whole `config.json`.
            placements: where its tensors go, without scales.
            holds: whether there is a tensor of this name.
            tensor: reads one; raises KeyError where there is none.

        Raises:
            CheckpointError: a quantisation that is not read, or of which parts are missing.
        """
        method = stored_method(config)
        self._fp8 = method == FP8
        self._bound = _activation_bound(config) if self._fp8 else 0.0
        self._tensor = tensor
        self._plain = dict(placements)
        self._scaled = {name for name in placements if method and holds(name + _SUFFIX)}
        self._parameters = {placements[name].parameter for name in self._scaled}
        for name, place in placements.items():
            if place.parameter in self._parameters and name not in self._scaled:
                raise CheckpointError(
                    f"the checkpoint lacks {name}{_SUFFIX}; other rows of {place.parameter} have scales"
                )

    def prepare(self, model: nn.Module, device: torch.device) -> None:
        """Replace linear layers of a model on the meta device by FP8 ones, if `device` computes in FP8.

        Elsewhere, and for int8, the weights become the model's dtype when they are read: they take its
        memory, and activations are not rounded.
        """
        if not self._parameters or not self._fp8:
            return
        if not has_fp8_units(device):
            _log.warning(
                "%s has no FP8 units (compute capability below 8.9): the FP8 weights take two bytes each",
                torch.cuda.get_device_name(device),
            )
            return
        for parameter in self._parameters:
            path = parameter.removesuffix(".weight")
            outputs, inputs = model.get_parameter(parameter).shape
            with torch.device("meta"):
                model.set_submodule(path, FP8Linear(inputs, outputs, self._bound))

    def placements(self, model: nn.Module) -> dict[str, Placement]:
        """Where tensors and scales go in a model that `prepare` has seen."""
        held = {name for name, _ in model.named_buffers()}
        return self._plain | {
            name + _SUFFIX: replace(place, parameter=place.parameter + _SUFFIX)
            for name, place in self._plain.items()
            if name in self._scaled and place.parameter + _SUFFIX in held
        }

    def reader(self, model: nn.Module) -> Callable[[str], Tensor]:
        """Reads a tensor by name, as the layer of `model` wants it that it goes to.

        The reader raises CheckpointError for weights of another kind or that are not numbers.
        """
        held = {name for name, _ in model.named_buffers()}

        def read(name: str) -> Tensor:
            if name.endswith(_SUFFIX):
                return self._scale(name)
            if name not in self._scaled:
                return self._tensor(name)
            weight = self._weight(name)
            if self._plain[name].parameter + _SUFFIX in held:
                return weight
            return dequantize_rows(weight, self._scale(name + _SUFFIX), torch.float32)

        return read

    def dense(self) -> Sources:
        """Every matrix without its scales."""
        return self._plain, self.reader(nn.Module())

    def _weight(self, name: str) -> Tensor:
        weight = self._tensor(name)
        wanted = E4M3 if self._fp8 else torch.int8
        if weight.dtype != wanted:
            raise CheckpointError(f"tensor {name} is {weight.dtype}; with a scale it has to be {wanted}")
        if self._fp8 and ((weight.view(torch.uint8) & 0x7F) == 0x7F).any():
            raise CheckpointError(f"tensor {name} holds values that are not numbers: the file is damaged")
        return weight

    def _scale(self, name: str) -> Tensor:
        """[out, 1], also where the file holds [out]."""
        scale = self._tensor(name).float()
        return scale[:, None] if scale.ndim == 1 else scale


def stored_method(config: Mapping[str, Any]) -> str | None:
    """How a `config.json` says that weights are quantised: `FP8`, `INT8`, or None for not at all.

    Raises:
        CheckpointError: in a way that is not read.
    """
    stored = config.get("quantization_config") or config.get("compression_config")
    if not stored:
        return None
    method = stored.get("quant_method") if isinstance(stored, Mapping) else stored
    if method not in (FP8, INT8):
        raise CheckpointError(
            f"quant_method is {method!r}; safetensors are read in 16 or 32 bits, as {FP8!r} and as {INT8!r}: "
            "take the unquantised model, or a GGUF file"
        )
    return str(method)


def _activation_bound(config: Mapping[str, Any]) -> float:
    bound = (config.get("quantization_config") or config["compression_config"]).get(
        "activation_scale_ub", ACTIVATION_BOUND
    )
    if not isinstance(bound, int | float) or not 0 < bound < math.inf:
        raise CheckpointError(f"activation_scale_ub is {bound!r}; it has to be a positive number")
    return float(bound)
