"""Which documents a model is taught on, and which are kept to judge it by: by document, never by question."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from rag.errors import InvalidRequest
from rag.evaluation.questions import GoldQuestion


def held_out(document: str, share: float, seed: int = 0) -> bool:
    """Whether a document is kept to judge by.

    Its name decides, without folders and ending: the same article in several sets, or as text and as PDF,
    is on one side.
    """
    digest = hashlib.sha256(f"{seed}\0{bare_name(document)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def bare_name(document: str) -> str:
    """What one document is called wherever it lies: without folders and ending, in lower case."""
    return PurePosixPath(document.replace("\\", "/")).stem.casefold()


def split(
    questions: Iterable[GoldQuestion], share: float, seed: int = 0
) -> tuple[list[GoldQuestion], list[GoldQuestion]]:
    """Questions to teach on, and questions to judge by; one that needs documents of both sides is neither's.

    Raises:
        InvalidRequest: `nothing_to_learn`, `nothing_to_judge` where a side is empty.
    """
    sides: tuple[list[GoldQuestion], list[GoldQuestion]] = ([], [])
    for question in questions:
        found = {held_out(name, share, seed) for name in documents_of(question)}
        if len(found) == 1:
            sides[found.pop()].append(question)
    for side, code, what in zip(
        sides, ("nothing_to_learn", "nothing_to_judge"), ("taught on", "judged by"), strict=True
    ):
        if not side:
            raise InvalidRequest(
                f"no question is left to be {what}: documents are split by name, {share:.0%} of them held "
                "out; give more documents, or another --held-out or --seed",
                code=code,
            )
    return sides


def documents_of(question: GoldQuestion) -> Sequence[str]:
    """The documents that a question is about."""
    return question.docs or tuple(dict.fromkeys(each.doc for each in question.evidence))
