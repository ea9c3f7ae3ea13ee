"""Kinds of requests by what they keep busy: the models, the index, the disk, or a process that draws."""

from __future__ import annotations

import re
from typing import Literal

Lane = Literal["questions", "searches", "uploads", "pictures"]

_QUESTIONS = re.compile(
    r"POST (/query|/mcp|/answers/[^/]+/replay|/v1/(chat/completions|completions|responses|embeddings))"
)
_UPLOADS = re.compile(r"POST /documents|PUT /documents/[^/]+|POST /uploads|PATCH /uploads/[^/]+")
_PICTURES = re.compile(r"GET /documents/[^/]+/pages/[^/]+/(picture|boxes)")


def lane_of(method: str, path: str) -> Lane | None:
    """Where a request belongs; None for what is quick."""
    asked = f"{method} {path}"
    if _QUESTIONS.fullmatch(asked):
        return "questions"
    if asked == "POST /search":
        return "searches"
    if _PICTURES.fullmatch(asked):
        return "pictures"
    return "uploads" if _UPLOADS.fullmatch(asked) else None
