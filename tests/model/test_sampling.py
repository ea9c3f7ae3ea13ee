"""The sampler keeps to its parameters."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from model import ParameterError, SamplingParams
from model.sampling import Sampler, candidates


@given(
    seed=st.integers(0, 1000),
    temperature=st.floats(0.1, 3),
    top_k=st.integers(0, 60),
    top_p=st.floats(0.05, 1),
    min_p=st.floats(0, 0.5),
)
def test_candidates_are_those_of_transformers(
    seed: int, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(seed)) * 3
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    warpers.append(TopPLogitsWarper(top_p))
    warpers.append(MinPLogitsWarper(min_p))
    expected = warpers(torch.zeros(1, 1, dtype=torch.long), logits[None].clone())[0].softmax(-1)
    tokens, probabilities = candidates(
        logits, SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    )
    ours = probabilities if tokens is None else torch.zeros(50).scatter(0, tokens, probabilities)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def sampler(params: SamplingParams, prompt: tuple[int, ...] = (0,)) -> Sampler:
    return Sampler(params, prompt, torch.zeros(50))


def test_greedy_takes_the_largest() -> None:
    logits = torch.randn(50)
    assert sampler(SamplingParams()).next(logits).token == int(logits.argmax())


def test_a_seed_repeats_and_another_differs() -> None:
    logits = torch.zeros(50)

    def draw(seed: int | None) -> list[int]:
        one = sampler(SamplingParams(temperature=1, seed=seed))
        return [one.next(logits).token for _ in range(20)]

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
    assert draw(None) != draw(None)


def test_seeded_draws_do_not_touch_the_global_generator() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    sampler(SamplingParams(temperature=1, seed=3)).next(torch.zeros(50))
    assert torch.equal(torch.rand(1), expected)


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([0.1, 0.2, 0.7] + [0.0] * 47).log()
    one = sampler(SamplingParams(temperature=1, seed=0))
    drawn = torch.tensor([one.next(logits).token for _ in range(4000)])
    shares = torch.bincount(drawn, minlength=50)[:3] / 4000
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.2, 0.7]), rtol=0, atol=0.03)


def test_repetition_penalty_is_that_of_transformers_and_counts_the_answer() -> None:
    torch.manual_seed(0)
    one, seen = sampler(SamplingParams(repetition_penalty=1.7), (3, 4)), [3, 4]
    for _ in range(12):
        logits = torch.randn(50)
        lowered = RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([seen]), logits[None].clone())
        token = one.next(logits).token
        assert token == int(lowered.argmax())
        seen.append(token)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("min_p", 1.5),
        ("repetition_penalty", 0.0),
        ("seed", -1),
        ("stop", ("",)),
        ("stop", "text"),
    ],
)
def test_a_bad_value_is_named_with_its_limits(name: str, value: object) -> None:
    with pytest.raises(ParameterError, match=name) as error:
        SamplingParams(**{name: value})  # type: ignore[arg-type]
    assert repr(value) in str(error.value)
