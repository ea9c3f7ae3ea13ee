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
from model.logprobs import token_logprobs, top
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
        ("presence_penalty", 2.5),
        ("frequency_penalty", float("nan")),
        ("logit_bias", {3: 101}),
        ("logit_bias", {-3: 1}),
        ("top_logprobs", 1),
        ("seed", -1),
        ("stop", ("",)),
        ("stop", "text"),
    ],
)
def test_a_bad_value_is_named_with_its_limits(name: str, value: object) -> None:
    with pytest.raises(ParameterError, match=name) as error:
        SamplingParams(**{name: value})  # type: ignore[arg-type]
    assert repr(value) in str(error.value)


def test_candidates_of_a_large_vocabulary_are_those_of_a_full_sort() -> None:
    for seed, scale, params in (
        (0, 4, SamplingParams(temperature=1, top_p=0.9)),
        (1, 0.01, SamplingParams(temperature=1, top_p=0.9)),
        (2, 4, SamplingParams(temperature=2, min_p=0.02)),
        (3, 0.01, SamplingParams(temperature=1, min_p=0.5)),
        (4, 2, SamplingParams(temperature=1, top_k=1000, top_p=0.8, min_p=0.001)),
    ):
        logits = torch.randn(5000, generator=torch.Generator().manual_seed(seed)) * scale
        warpers = LogitsProcessorList([TemperatureLogitsWarper(float(params.temperature))])
        if params.top_k:
            warpers.append(TopKLogitsWarper(params.top_k))
        if params.top_p < 1:
            warpers.append(TopPLogitsWarper(params.top_p))
        if params.min_p:
            warpers.append(MinPLogitsWarper(params.min_p))
        expected = warpers(torch.zeros(1, 1, dtype=torch.long), logits[None].clone())[0].softmax(-1)
        tokens, probabilities = candidates(logits, params)
        assert tokens is not None
        ours = torch.zeros(5000).scatter(0, tokens, probabilities)
        # The last token kept may differ where float32 sums of thousands do.
        assert int(((ours > 0) != (expected > 0)).sum()) <= 2
        torch.testing.assert_close(ours, expected, rtol=1e-2, atol=1e-3)


def test_an_impossible_token_is_never_drawn_and_a_tiny_temperature_is_greedy() -> None:
    logits = torch.full((50,), -torch.inf)
    logits[[3, 49]] = 0.0
    one = sampler(SamplingParams(temperature=1, seed=0))
    assert {one.next(logits).token for _ in range(200)} == {3, 49}
    row = torch.randn(50) * 1e4
    assert sampler(SamplingParams(temperature=1e-30, seed=0)).next(row).token == int(row.argmax())


def test_every_token_takes_one_number_of_the_generator() -> None:
    generator = torch.Generator().manual_seed(5)
    numbers = torch.rand(12, dtype=torch.float64, generator=generator)
    one = sampler(SamplingParams(temperature=1, seed=5))
    for index, number in enumerate(numbers):
        # Of as many tokens as there are, each equally likely: the number itself, read from the other end.
        size = 10 + 7 * (index % 3)
        expected = int(torch.ceil((1 - number) * size)) - 1
        assert one.next(torch.zeros(size)).token == expected


def test_presence_and_frequency_count_the_answer_alone() -> None:
    one = sampler(SamplingParams(presence_penalty=0.5, frequency_penalty=0.25), prompt=(7, 7, 8))
    torch.manual_seed(1)
    counts = torch.zeros(50)
    for _ in range(40):
        logits = torch.randn(50) * 1.5
        expected = logits - 0.25 * counts - 0.5 * (counts > 0)
        token = one.next(logits).token
        assert expected[token] >= expected.max() - 1e-5
        counts[token] += 1
    assert counts.max() > 1


def test_a_bias_is_added_and_ids_outside_the_vocabulary_are_refused() -> None:
    params = SamplingParams(logit_bias={4: 100, 2: -100})
    assert params.logit_bias == ((2, -100), (4, 100))
    assert hash(params) == hash(SamplingParams(logit_bias=((4, 100), (2, -100))))
    assert sampler(params).next(torch.zeros(50)).token == 4
    params.check_vocabulary(5)
    with pytest.raises(ParameterError, match="logit_bias"):
        params.check_vocabulary(4)


def test_logprobs_are_the_models_whatever_shapes_the_choice() -> None:
    params = SamplingParams(
        temperature=2, top_k=3, seed=1, repetition_penalty=1.5, frequency_penalty=1, logit_bias={9: 20},
        logprobs=True, top_logprobs=4,
    )  # fmt: skip
    one = sampler(params)
    for _ in range(10):
        logits = torch.randn(50)
        before = logits.clone()
        expected = logits.double().log_softmax(-1)
        choice = one.next(logits)
        assert torch.equal(logits, before)
        assert choice.logprob == pytest.approx(float(expected[choice.token]), abs=1e-5)
        assert [token for token, _ in choice.top] == expected.topk(4).indices.tolist()
        assert [value for _, value in choice.top] == pytest.approx(expected.topk(4).values.tolist(), abs=1e-5)
    plain = sampler(SamplingParams()).next(torch.zeros(50))
    assert (plain.logprob, plain.top) == (None, ())


def test_helpers_over_many_rows_equal_log_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.logprobs._SLICE", 300)
    logits, targets = torch.randn(11, 100) * 5, torch.randint(0, 100, (11,))
    expected = logits.log_softmax(-1)
    torch.testing.assert_close(token_logprobs(logits, targets), expected.gather(1, targets[:, None])[:, 0])
    ids, values = top(logits, 3)
    torch.testing.assert_close(values, expected.topk(3).values)
    assert torch.equal(ids, expected.topk(3).indices)
    assert token_logprobs(logits.bfloat16(), targets).dtype == torch.float32
    assert top(logits, 0)[0].shape == (11, 0)
