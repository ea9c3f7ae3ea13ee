"""Attention of new tokens over everything before them, behind one small interface."""

from __future__ import annotations

from model.attention.batch import Attend, Batch, Segment
from model.attention.select import select_attention

__all__ = ["Attend", "Batch", "Segment", "select_attention"]
