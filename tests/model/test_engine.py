"""Generation: the same tokens however it is cut, cached or cold; events, limits, cancel, turns."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from checkpoints import tiny_model, write_folder
from hypothesis import given
from hypothesis import strategies as st

from model import (
    Engine,
    Event,
    Finished,
    ParameterError,
    PrefillProgress,
    PromptError,
    PromptTooLongError,
    SamplingParams,
    TokenEvent,
)
from model.runner import Runner

PASSAGE = (
    "The longleaf pine is a pine species native to the Southeastern United States, found along the coastal "
    "plain from East Texas to southern Virginia. It reaches a height of 30 to 35 metres and takes 100 to 150 "
    "years to become full size. "
) * 6


def tokens(events: list[Event]) -> list[int]:
    return [event.token_id for event in events if isinstance(event, TokenEvent)]


def cold(engine: Engine, ids: list[int], params: SamplingParams) -> list[Event]:
    engine.forget()
    return list(engine.generate(ids, params))


def recut(engine: Engine, chunk: int) -> Engine:
    """The same weights behind another prefill chunk."""
    old = engine._runner
    runner = Runner(old._model, old._config, old._rope, old._attend, chunk)
    return Engine(
        runner,
        engine.config,
        engine.tokenizer,
        chat_format=engine.chat_format,
        name=engine.name,
        fingerprint=engine.fingerprint,
        parameter_count=engine.parameter_count,
    )


def test_bundled_tokens_do_not_depend_on_the_cut(bundled: Engine) -> None:
    ids = bundled.tokenizer.encode(PASSAGE)[:260]
    params = SamplingParams(max_tokens=6, ignore_eos=True)
    expected = tokens(list(recut(bundled, 100_000).generate(ids, params)))
    for chunk in (7, 256):
        assert tokens(list(recut(bundled, chunk).generate(ids, params))) == expected
    short = ids[:40]
    expected = tokens(list(recut(bundled, 100_000).generate(short, params)))
    assert tokens(list(recut(bundled, 1).generate(short, params))) == expected


def test_tiny_tokens_and_logits_do_not_depend_on_the_cut(tiny: Engine) -> None:
    ids = torch.randint(0, 500, (600,), generator=torch.Generator().manual_seed(3)).tolist()
    params = SamplingParams(max_tokens=20, ignore_eos=True)
    whole = recut(tiny, 10_000)
    logits, expected = whole.logits(ids), tokens(list(whole.generate(ids, params)))
    for chunk in (1, 7, 256):
        cut = recut(tiny, chunk)
        scale = float(logits.abs().max())
        torch.testing.assert_close(cut.logits(ids), logits, rtol=1e-4, atol=1e-4 * scale)
        assert tokens(list(cut.generate(ids, params))) == expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_reused_prefix_gives_the_cold_answer_bit_for_bit(tiny_folder: Path, dtype: str) -> None:
    warm = Engine.load(tiny_folder, "cpu", dtype, prefill_chunk=16)
    fresh = recut(warm, 16)

    @given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 40)), min_size=1, max_size=4))
    def check(requests: list[tuple[int, int]]) -> None:
        for shared, own in requests:
            ids = [7 * i % 500 for i in range(shared)] + [(11 * i + shared) % 500 for i in range(own + 1)]
            params = SamplingParams(max_tokens=4, ignore_eos=True)
            events, expected = list(warm.generate(ids, params)), cold(fresh, ids, params)
            assert tokens(events) == tokens(expected)
            end = events[-1]
            assert isinstance(end, Finished)
            assert end.cached_tokens % 16 == 0
            assert end.cached_tokens < len(ids)
            hidden = [list(engine._runner.prefill(ids, len(ids) - 1))[-1][1] for engine in (warm, fresh)]
            assert torch.equal(*hidden)

    check()


def test_a_repeated_prompt_is_cached(tiny: Engine) -> None:
    ids = list(range(400)) + list(range(400))
    first, second = (list(tiny.generate(ids, SamplingParams(max_tokens=2)))[-1] for _ in range(2))
    assert isinstance(second, Finished)
    assert second.cached_tokens == 512
    assert first.text == second.text
    tiny.forget()
    assert list(tiny.generate(ids, SamplingParams(max_tokens=2)))[-1].cached_tokens == 0


def test_events_tell_the_whole_story(bundled: Engine) -> None:
    ids = bundled.tokenizer.encode(PASSAGE * 3)[:530]
    seen: list[PrefillProgress] = []
    bundled.forget()
    events = list(bundled.generate(ids, SamplingParams(max_tokens=8), on_progress=seen.append))
    progress = [event for event in events if isinstance(event, PrefillProgress)]
    assert progress == seen
    assert [event.read for event in progress] == [0, 512, 530]
    new = [event for event in events if isinstance(event, TokenEvent)]
    assert [event.index for event in new] == list(range(len(new)))
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.prompt_tokens, end.completion_tokens) == (530, len(new))
    assert end.text.startswith("".join(event.text for event in new))
    assert end.text == bundled.tokenizer.decode(tokens(events))


def test_chat_answers_and_stops(bundled: Engine) -> None:
    events = list(bundled.chat([{"role": "user", "content": "What is the capital of France?"}]))
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.reason == "stop"
    assert "Paris" in end.text
    assert tokens(events)[-1] in bundled.tokenizer.stop_ids


def test_stop_strings_are_cut_off(bundled: Engine) -> None:
    question = [{"role": "user", "content": "What is the capital of France?"}]
    events = list(bundled.chat(question, SamplingParams(stop=("is Par",))))
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.reason == "stop_string"
    assert end.text == "The capital of France "
    assert "".join(event.text for event in events if isinstance(event, TokenEvent)) == end.text


def test_own_stop_ids_and_ignoring_the_models(tiny: Engine) -> None:
    plain = tokens(list(tiny.generate([5, 6, 7], SamplingParams(max_tokens=30, ignore_eos=True))))
    assert len(plain) == 30
    stopped = list(tiny.generate([5, 6, 7], SamplingParams(max_tokens=30, stop_token_ids=(plain[3],))))
    assert tokens(stopped) == plain[: plain.index(plain[3]) + 1]
    assert stopped[-1].reason == "stop"


def test_the_context_ends_the_answer(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, tiny_model(max_position_embeddings=32))
    engine = Engine.load(folder, "cpu", "float32")
    end = list(engine.generate([1] * 30, SamplingParams(max_tokens=50, ignore_eos=True)))[-1]
    assert (end.reason, end.completion_tokens) == ("length", 2)
    with pytest.raises(PromptTooLongError, match=r"32 tokens.*at most 31"):
        engine.generate([1] * 32)


def test_bad_prompts_are_refused_at_once(tiny: Engine) -> None:
    for ids in ([], [512], [-1]):
        with pytest.raises(PromptError):
            tiny.generate(ids)
    with pytest.raises(ParameterError, match="prefill_chunk"):
        Engine.load("auto", prefill_chunk=0)


def test_cancel_ends_prefill_and_decode(tiny_folder: Path) -> None:
    engine = Engine.load(tiny_folder, "cpu", "float32", prefill_chunk=16)
    cancel = threading.Event()
    events = []
    for event in engine.generate(list(range(100)), cancel=cancel):
        events.append(event)
        if isinstance(event, PrefillProgress) and event.read == 32:
            cancel.set()
    assert events[-1] == Finished("cancelled", 100, 0, 0, "")
    assert events[-2] == PrefillProgress(32, 100, 0)
    cancel.clear()
    events = []
    for event in engine.generate(list(range(100)), SamplingParams(ignore_eos=True), cancel=cancel):
        events.append(event)
        if isinstance(event, TokenEvent) and event.index == 4:
            cancel.set()
    assert events[-1].reason == "cancelled"
    assert len(tokens(events)) == 5


def test_closing_the_iterator_frees_the_engine(tiny: Engine) -> None:
    events = tiny.generate([1, 2, 3])
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert list(tiny.generate([1, 2, 3], SamplingParams(max_tokens=1)))[-1].completion_tokens == 1


def test_requests_take_turns_in_order_and_do_not_mix(tiny: Engine) -> None:
    prompts = [[index + 1] * (20 + index) for index in range(4)]
    params = SamplingParams(max_tokens=8, ignore_eos=True)
    expected = [tokens(list(tiny.generate(ids, params))) for ids in prompts]
    results: dict[int, list[int]] = {}
    threads = [
        threading.Thread(
            target=lambda i=i: results.update({i: tokens(list(tiny.generate(prompts[i], params)))})
        )
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[i] for i in range(4)] == expected


def test_a_waiting_request_can_be_cancelled(tiny: Engine) -> None:
    first = tiny.generate([1, 2, 3])
    next(first)
    cancel, out = threading.Event(), []
    waiting = threading.Thread(target=lambda: out.extend(tiny.generate([4, 5], cancel=cancel)))
    waiting.start()
    cancel.set()
    waiting.join(10)
    assert out == [Finished("cancelled", 2, 0, 0, "")]
    first.close()  # type: ignore[attr-defined]


def test_score_is_the_log_probability(tiny: Engine) -> None:
    ids = torch.randint(0, 500, (1100,), generator=torch.Generator().manual_seed(4)).tolist()
    rows = tiny.logits(ids).log_softmax(-1)
    for start in (1, 511, 512, 513, 1099):
        expected = torch.stack([rows[i - 1, ids[i]] for i in range(start, len(ids))])
        torch.testing.assert_close(tiny.score(ids, start), expected, rtol=1e-4, atol=1e-4)
    for start in (0, 1100):
        with pytest.raises(ParameterError, match="start"):
            tiny.score(ids, start)
