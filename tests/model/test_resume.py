"""A request goes on where another engine was lost: the same events as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving import small, tokens

from model import Finished, JsonSchema, PromptError, SamplingParams, TokenEvent

PROMPT = [i * i % 11 + 40 for i in range(70)]
ASKED = {
    "greedy": SamplingParams(max_tokens=24, ignore_eos=True),
    "seeded": SamplingParams(max_tokens=24, ignore_eos=True, temperature=0.9, seed=5),
    "penalised": SamplingParams(
        max_tokens=24, ignore_eos=True, temperature=1.5, seed=1, presence_penalty=2, repetition_penalty=1.3
    ),
    "logprobs": SamplingParams(max_tokens=24, ignore_eos=True, logprobs=True, top_logprobs=2),
    "stop string": SamplingParams(max_tokens=400, temperature=1.0, seed=2, stop=("e",)),
    "schema": SamplingParams(
        max_tokens=60,
        temperature=1.0,
        seed=3,
        constraint=JsonSchema({"type": "array", "items": {"type": "integer"}, "maxItems": 4}),
    ),
}


@pytest.mark.parametrize("kind", ASKED)
def test_what_follows_is_what_would_have_followed(tiny_folder: Path, kind: str) -> None:
    first, other = small(tiny_folder), small(tiny_folder)
    whole = [e for e in first.generate(PROMPT, ASKED[kind]) if isinstance(e, TokenEvent | Finished)]
    written = tokens(whole)
    assert len(written) > 3
    for lost_after in (1, 2, len(written) // 2, len(written) - 1):
        other.forget()
        resumed = other.generate(PROMPT, ASKED[kind], written=written[:lost_after])
        assert [e for e in resumed if isinstance(e, TokenEvent | Finished)] == whole[lost_after:]


def test_an_answer_that_was_whole_is_not_gone_on_with(tiny_folder: Path) -> None:
    engine = small(tiny_folder)
    params = SamplingParams(max_tokens=5, ignore_eos=True)
    *_, end = engine.generate(PROMPT, params)
    written = tokens(engine.generate(PROMPT, params))
    steps = engine.stats().steps
    (again,) = engine.generate(PROMPT, params, written=written)
    assert isinstance(again, Finished)
    assert isinstance(end, Finished)
    assert (again.text, again.reason, again.completion_tokens) == (end.text, "length", 5)
    assert engine.stats().steps == steps


def test_more_than_was_asked_for_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(PromptError):
        small(tiny_folder).generate(PROMPT, SamplingParams(max_tokens=2), written=[1, 2, 3])
