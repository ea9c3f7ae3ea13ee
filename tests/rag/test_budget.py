"""Budgets: what is left of the window, by the prompt that is really sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model import Engine
from rag.budget import CPU_CONTEXT, QUOTE_RESERVE, SEARCHED, SMALLEST, budget_for
from rag.errors import InvalidRequest
from rag.framing import Frame
from rag.writer import READS_ALL, Writer
from tests.rag.conftest import WatchedEngine

FRAME = Frame("document")


def of(engine: Any, question: str = "Who?", *, max_tokens: int = 100, most: int = 0) -> int:
    writer = Writer.of(engine, "auto")
    return budget_for(engine, writer, FRAME, question, max_tokens=max_tokens, most=most).documents


def test_what_suits_the_machine(engine: Engine) -> None:
    def large(device: str) -> WatchedEngine:
        return WatchedEngine(engine, parameter_count=READS_ALL, device=device, context_length=131072)

    skeleton = Writer.skeleton_of(engine, FRAME, "Who?").tokens
    assert of(engine) == min(SEARCHED, engine.context_length - 100 - skeleton)
    assert of(WatchedEngine(engine, context_length=131072)) == SEARCHED
    assert of(large("cpu")) == CPU_CONTEXT
    assert of(large("cuda")) == 131072 - 100 - skeleton - QUOTE_RESERVE
    assert of(large("cuda"), most=500) == of(engine, most=500) == 500


def test_without_a_chat_format_the_question_alone_counts(engine: Engine) -> None:
    bare = WatchedEngine(engine, chat_format=None)
    question = engine.tokenizer.encode("Who?")
    assert of(bare) == min(SEARCHED, engine.context_length - 100 - len(question))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    question=st.text(min_size=1, max_size=300).filter(str.strip),
    window=st.integers(300, 4000),
    asked=st.tuples(st.integers(1, 2000), st.integers(0, 5000)),
    parameters=st.sampled_from([1, READS_ALL]),
)
def test_prompt_and_answer_fit_the_window_or_the_question_is_refused(
    engine: Engine, question: str, window: int, asked: tuple[int, int], parameters: int
) -> None:
    max_tokens, most = asked
    small: Any = WatchedEngine(engine, context_length=window, parameter_count=parameters)
    writer = Writer.of(small, "auto")
    skeleton = Writer.skeleton_of(engine, FRAME, question).tokens
    if skeleton + max_tokens + SMALLEST > window:
        with pytest.raises(InvalidRequest, match="tokens"):
            budget_for(small, writer, FRAME, question, max_tokens=max_tokens, most=most)
        return
    budget = budget_for(small, writer, FRAME, question, max_tokens=max_tokens, most=most)
    assert budget.skeleton == skeleton
    assert budget.documents + budget.skeleton + max_tokens <= window
    assert budget.documents >= (min(SMALLEST, most) if most else SMALLEST)


def test_refusals_name_the_numbers(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match=r"ask for at most \d+") as caught:
        of(engine, max_tokens=engine.context_length)
    assert caught.value.code == "max_tokens_too_large"
    with pytest.raises(InvalidRequest, match="shorten the question") as caught:
        of(engine, "why " * 9000)
    assert caught.value.code == "question_too_long"
    assert caught.value.extra["context_length"] == engine.context_length
