"""Budget: how many tokens of documents one question may take, worked out from the prompt that it will stand
in."""

from __future__ import annotations

from dataclasses import dataclass

from model import Engine
from rag.errors import InvalidRequest
from rag.framing import Frame
from rag.writer import Writer

CPU_CONTEXT = 2048
"""Tokens of documents that a model reads on a CPU when the settings leave it open."""

SEARCHED = 16384
"""Tokens of documents that are searched for quotes when the settings leave it open and no model reads them
all."""

QUOTE_RESERVE = 512
"""Tokens kept free for listing the quotes in the prompt of a model that reads the full pack."""

SMALLEST = 32
"""Tokens of documents below which nothing can be read: the question is refused as too long."""


@dataclass(frozen=True)
class Budget:
    """Tokens for `documents`, and of the prompt around them (`skeleton`)."""

    documents: int
    skeleton: int


def budget_for(
    engine: Engine,
    writer: Writer | None,
    frame: Frame,
    question: str,
    *,
    max_tokens: int,
    most: int,
) -> Budget:
    """The smaller of `most` (0: what suits the machine) and window - `max_tokens` - skeleton with the
    question.

    Raises InvalidRequest: `max_tokens_too_large`, `question_too_long`, with the numbers.
    """
    window = engine.context_length
    bare = Writer.skeleton_of(engine, frame, "").tokens
    skeleton = Writer.skeleton_of(engine, frame, question).tokens
    largest = window - bare - SMALLEST
    if max_tokens > largest:
        raise InvalidRequest(
            f"max_tokens is {max_tokens}, but the model {engine.name} has a window of {window} tokens, of "
            f"which the instructions take {bare}: ask for at most {largest}",
            code="max_tokens_too_large",
        )
    room = window - max_tokens - skeleton
    if room < SMALLEST:
        raise InvalidRequest(
            f"the question takes {skeleton - bare} tokens; with {bare} of instructions and {max_tokens} for "
            f"the answer it leaves {max(0, room)} of the model's window of {window} tokens for documents, "
            f"and {SMALLEST} are needed: shorten the question or set a smaller max_tokens",
            code="question_too_long",
            extra={"question_tokens": skeleton - bare, "context_length": window},
        )
    reads_all = writer is not None and writer.reads_all
    if reads_all and room > 2 * QUOTE_RESERVE:
        room -= QUOTE_RESERVE
    if not most:
        most = SEARCHED if not reads_all else CPU_CONTEXT if engine.device == "cpu" else window
    return Budget(min(most, room), skeleton)
