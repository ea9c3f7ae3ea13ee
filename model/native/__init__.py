"""Our own CPU kernels, in C: products with packed weights, attention over paged keys, and what lies between.

`python -m model.native.build` compiles them; without a library everything runs on torch.
"""

from __future__ import annotations

from model.native.library import available, level

FEW_ROWS = 32
"""Rows up to which products go to the kernels, which compute each row the same whatever the others are."""

__all__ = ["FEW_ROWS", "available", "level"]
