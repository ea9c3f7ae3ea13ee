"""One property: the tokens of a request do not depend on anything but the request."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import small, tokens

from model import Engine, EngineOptions, SamplingParams
from model.speculate import StepTimes


@dataclass(frozen=True)
class Ask:
    """A prompt of `shared` tokens that others have too and `own` ones of its own, and how to go on."""

    shared: int
    own: int
    new: int
    seed: int | None

    @property
    def prompt(self) -> list[int]:
        # Few different tokens, so that prompt lookup finds something to guess.
        return [i * i % 11 for i in range(self.shared)] + [(i + self.own) % 7 for i in range(self.own + 1)]

    @property
    def params(self) -> SamplingParams:
        temperature = 0.0 if self.seed is None else 0.8
        return SamplingParams(
            max_tokens=self.new,
            temperature=temperature,
            seed=self.seed,
            ignore_eos=True,
            # An answer of few different tokens repeats itself and its prompt: some guesses are right.
            logit_bias=dict.fromkeys(range(6), 100.0),
        )


asks = st.builds(
    Ask, st.integers(0, 120), st.integers(0, 40), st.integers(1, 24), st.none() | st.integers(0, 3)
)


@pytest.fixture(scope="module")
def engines(tiny_folder: Path) -> dict[str, Engine]:
    """The same weights: by itself and whole; cut and cached; with so little memory that it must preempt."""
    return {
        "alone": small(tiny_folder, chunk=1024, speculate=False),
        "roomy": small(tiny_folder),
        "one row": small(tiny_folder, chunk=16, speculate=False),
        "tight": small(tiny_folder, kv_tokens=256),
        "few": small(tiny_folder, most_running=2, step_tokens=500),
    }


def alone(engine: Engine, ask: Ask) -> list[int]:
    engine.forget()
    return tokens(engine.generate(ask.prompt, ask.params))


def together(engine: Engine, requests: list[Ask]) -> list[list[int]]:
    out: dict[int, list[int]] = {}
    barrier = threading.Barrier(len(requests))

    def run(index: int, ask: Ask) -> None:
        barrier.wait()
        out[index] = tokens(engine.generate(ask.prompt, ask.params))

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(requests)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [out[index] for index in range(len(requests))]


@settings(max_examples=30, deadline=None)
@given(requests=st.lists(asks, min_size=1, max_size=6))
def test_the_same_tokens_alone_batched_preempted_cut_cold_or_cached(
    engines: dict[str, Engine], requests: list[Ask]
) -> None:
    expected = [alone(engines["alone"], ask) for ask in requests]
    for name in ("roomy", "one row", "tight", "few"):
        # The caches are warm from earlier examples on purpose.
        assert together(engines[name], requests) == expected, name
        stats = engines[name].stats()
        assert stats.blocks_free == stats.blocks, name


def test_the_property_saw_what_it_is_about(
    engines: dict[str, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whether drafts pay is measured, and on a busy machine they may not.
    monkeypatch.setattr(StepTimes, "line", lambda _: (1.0, 0.05))
    requests = [Ask(120, 4, 24, None), Ask(120, 9, 24, 1), Ask(120, 30, 24, None), Ask(120, 30, 24, 2)]
    expected = [alone(engines["alone"], ask) for ask in requests]
    for name in ("roomy", "tight"):
        assert together(engines[name], requests) == expected
    assert engines["tight"].stats().preemptions > 0
    assert engines["roomy"].stats().cached_tokens > 0
    assert engines["roomy"].stats().drafted > engines["roomy"].stats().accepted > 0
    assert engines["alone"].stats().drafted == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_reused_prefix_gives_the_cold_logits_bit_for_bit(tiny_folder: Path, dtype: str) -> None:
    engine = small(tiny_folder, dtype)

    @settings(max_examples=15, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 40)), min_size=1, max_size=4))
    def check(requests: list[tuple[int, int]]) -> None:
        for shared, own in requests:
            ids = Ask(shared, own, 1, None).prompt
            if len(ids) < 2:
                continue
            warm = engine.score(ids, len(ids) - 1)
            engine.forget()
            assert engine.score(ids, len(ids) - 1).equal(warm)

    check()


def test_options_are_the_devices() -> None:
    options = EngineOptions()
    assert (options.chunk_on("cpu"), options.step_tokens_on("cpu")) == (256, 256)
    assert (options.chunk_on("cuda"), options.step_tokens_on("cuda")) == (2048, 8192)
    assert EngineOptions(block_size=96).chunk_on("cpu") == 288
