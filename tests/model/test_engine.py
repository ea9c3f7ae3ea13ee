"""The engine as its callers see it: events, limits, cancel, many requests at a time, scores, stats."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import tiny_model, write_folder
from serving import SMALL, cold, small, tokens

from model import (
    Engine,
    EngineDeadError,
    EngineOptions,
    Event,
    Finished,
    HardwareError,
    ParameterError,
    PrefillProgress,
    PromptError,
    PromptTooLongError,
    Regex,
    SamplingParams,
    StepError,
    TextDelta,
    TokenEvent,
    ToolCallStart,
)

PASSAGE = (
    "The longleaf pine is a pine species native to the Southeastern United States, found along the coastal "
    "plain from East Texas to southern Virginia. It reaches a height of 30 to 35 metres and takes 100 to 150 "
    "years to become full size. "
) * 6


def test_bundled_tokens_do_not_depend_on_the_cut(bundled: Engine) -> None:
    ids = bundled.tokenizer.encode(PASSAGE)[:260]
    params = SamplingParams(max_tokens=6, ignore_eos=True)
    expected = tokens(cold(bundled, ids, params))
    other = Engine.load("auto", "cpu", "float32", options=EngineOptions(chunk=32, block_size=16))
    assert tokens(other.generate(ids, params)) == expected
    assert tokens(other.generate(ids, params)) == expected


def test_a_repeated_prompt_is_cached(tiny_folder: Path) -> None:
    engine = small(tiny_folder)
    ids = list(range(100)) + list(range(100))
    first, second = (list(engine.generate(ids, SamplingParams(max_tokens=2)))[-1] for _ in range(2))
    assert isinstance(first, Finished)
    assert isinstance(second, Finished)
    assert (first.cached_tokens, second.cached_tokens) == (0, 192)
    assert first.text == second.text
    engine.forget()
    third = list(engine.generate(ids, SamplingParams(max_tokens=2)))[-1]
    assert isinstance(third, Finished)
    assert third.cached_tokens == 0


def test_events_tell_the_whole_story(bundled: Engine) -> None:
    ids = bundled.tokenizer.encode(PASSAGE * 3)[:530]
    seen: list[PrefillProgress] = []
    bundled.forget()
    events = list(bundled.generate(ids, SamplingParams(max_tokens=8), on_progress=seen.append))
    progress = [event for event in events if isinstance(event, PrefillProgress)]
    assert progress == seen
    assert [event.read for event in progress] == [0, 256, 512, 530]
    new = [event for event in events if isinstance(event, TokenEvent)]
    assert [event.index for event in new] == list(range(len(new)))
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.prompt_tokens, end.completion_tokens) == (530, len(new))
    assert end.text.startswith("".join(event.text for event in new))
    assert end.text == bundled.tokenizer.decode(tokens(events))
    again = [e for e in bundled.generate(ids, SamplingParams(max_tokens=1)) if isinstance(e, PrefillProgress)]
    assert [(event.read, event.cached) for event in again] == [(512, 512), (530, 512)]


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
    plain = tokens(tiny.generate([5, 6, 7], SamplingParams(max_tokens=30, ignore_eos=True)))
    assert len(plain) == 30
    stopped = list(tiny.generate([5, 6, 7], SamplingParams(max_tokens=30, stop_token_ids=(plain[3],))))
    assert tokens(stopped) == plain[: plain.index(plain[3]) + 1]
    assert isinstance(stopped[-1], Finished)
    assert stopped[-1].reason == "stop"


def test_the_context_ends_the_answer(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, tiny_model(max_position_embeddings=32))
    engine = small(folder)
    end = list(engine.generate([1] * 30, SamplingParams(max_tokens=50, ignore_eos=True)))[-1]
    assert isinstance(end, Finished)
    assert (end.reason, end.completion_tokens) == ("length", 2)
    with pytest.raises(PromptTooLongError, match=r"32 tokens.*at most 31"):
        engine.generate([1] * 32)


def test_a_prompt_that_never_fits_the_cache_is_refused_at_once(tiny_folder: Path) -> None:
    engine = small(tiny_folder, kv_tokens=64)
    assert engine.context_length == 64
    with pytest.raises(PromptTooLongError, match=r"64 tokens.*at most 63"):
        engine.generate([1] * 64)
    end = list(engine.generate([1] * 60, SamplingParams(max_tokens=50, ignore_eos=True)))[-1]
    assert isinstance(end, Finished)
    assert (end.reason, end.completion_tokens) == ("length", 4)
    with pytest.raises(HardwareError, match="room for 16 tokens"):
        small(tiny_folder, kv_tokens=16)


def test_bad_prompts_and_options_are_refused_at_once(tiny: Engine) -> None:
    for ids in ([], [512], [-1]):
        with pytest.raises(PromptError):
            tiny.generate(ids)
    with pytest.raises(ParameterError, match="chunk is 0"):
        EngineOptions(chunk=0)
    with pytest.raises(ParameterError, match="multiples of block_size"):
        EngineOptions(chunk=100, block_size=16)


def test_cancel_ends_prefill_and_decode(tiny_folder: Path) -> None:
    engine = small(tiny_folder)
    for stop_at in (PrefillProgress, TokenEvent):
        cancel, events = threading.Event(), []
        prompt = list(range(400)) * 20
        for event in engine.generate(prompt, SamplingParams(max_tokens=2000, ignore_eos=True), cancel=cancel):
            events.append(event)
            if isinstance(event, stop_at):
                cancel.set()
        end = events[-1]
        assert isinstance(end, Finished)
        assert end.reason == "cancelled"
        assert len(tokens(events)) == end.completion_tokens < 2000
        if stop_at is PrefillProgress:
            assert len(events) < len(prompt) / 16
        assert engine.stats().running == 0
        assert engine.stats().blocks_free == engine.stats().blocks


def test_closing_the_iterator_frees_the_engine(tiny_folder: Path) -> None:
    engine = small(tiny_folder)
    events = engine.generate([1, 2, 3], SamplingParams(max_tokens=100_000, ignore_eos=True))
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert tokens(engine.generate([1, 2, 3], SamplingParams(max_tokens=1)))
    deadline = time.monotonic() + 10
    while engine.stats().running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.stats().blocks_free == engine.stats().blocks
    assert engine.stats().new_tokens < 100_000


def test_a_waiting_request_can_be_cancelled(tiny_folder: Path) -> None:
    engine = small(tiny_folder, most_running=1)
    first = engine.generate([1, 2, 3], SamplingParams(max_tokens=100_000, ignore_eos=True))
    next(first)
    cancel, out = threading.Event(), []
    waiting = threading.Thread(target=lambda: out.extend(engine.generate([4, 5], cancel=cancel)))
    waiting.start()
    cancel.set()
    waiting.join(10)
    assert out == [Finished("cancelled", 2, 0, 0, "")]
    first.close()  # type: ignore[attr-defined]


def test_a_long_prompt_does_not_stop_other_peoples_tokens(tiny_folder: Path) -> None:
    engine = small(tiny_folder, kv_tokens=60_000)
    order: list[str] = []
    started = threading.Event()

    def read() -> None:
        for event in engine.generate([i % 500 for i in range(6000)], SamplingParams(max_tokens=1)):
            if isinstance(event, PrefillProgress) and event.read:
                order.append("chunk")
                started.set()

    reader = threading.Thread(target=read)
    reader.start()
    started.wait(10)
    # Admitted in the midst of it, a short request reads, writes and ends before the long one has been read.
    assert len(tokens(engine.generate([9, 8, 7], SamplingParams(max_tokens=20, ignore_eos=True)))) == 20
    before = len(order)
    reader.join()
    assert before < len(order)


def test_a_failed_step_ends_its_requests_and_not_the_engine(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = small(tiny_folder)
    real = engine._executor.logits

    def broken(ids: list[int], *rest: Any) -> torch.Tensor:
        if 77 in ids:
            raise RuntimeError("out of memory")
        return real(ids, *rest)

    monkeypatch.setattr(engine._executor, "logits", broken)
    with pytest.raises(StepError, match="out of memory"):
        list(engine.generate([1, 77, 2]))
    with pytest.raises(StepError, match="out of memory"):
        engine.score([1, 77, 2], 1)
    assert tokens(engine.generate([1, 2], SamplingParams(max_tokens=3, ignore_eos=True)))
    assert engine.stats().blocks_free == engine.stats().blocks


def test_a_dead_executor_ends_everything_with_a_clear_error(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = small(tiny_folder)

    def dead(*_: object) -> torch.Tensor:
        raise EngineDeadError("worker 1 has died")

    monkeypatch.setattr(engine._executor, "logits", dead)
    with pytest.raises(EngineDeadError, match="worker 1"):
        list(engine.generate([1, 2]))
    assert engine.failure is not None
    with pytest.raises(EngineDeadError, match="worker 1"):
        list(engine.generate([1, 2]))


def test_closing_ends_what_runs(tiny_folder: Path) -> None:
    engine = small(tiny_folder)
    events = engine.generate([1, 2, 3], SamplingParams(max_tokens=100_000, ignore_eos=True))
    next(events)
    engine.close()
    rest: list[Event] = list(events)
    assert isinstance(rest[-1], Finished)
    assert rest[-1].reason == "cancelled"
    with pytest.raises(EngineDeadError, match="closed"):
        list(engine.generate([1]))
    engine.close()


def test_score_is_the_log_probability(tiny_folder: Path) -> None:
    engine = small(tiny_folder)
    ids = torch.randint(0, 500, (200,), generator=torch.Generator().manual_seed(4)).tolist()
    rows = engine.logits(ids).log_softmax(-1)
    for start, stop in ((1, None), (15, 17), (16, 200), (17, 18), (199, None)):
        expected = torch.stack([rows[i - 1, ids[i]] for i in range(start, stop or 200)])
        torch.testing.assert_close(engine.score(ids, start, stop), expected, rtol=1e-4, atol=1e-4)
    for start, stop in ((0, 3), (200, None), (5, 5), (5, 201)):
        with pytest.raises(ParameterError, match="start"):
            engine.score(ids, start, stop)


def test_stats_count(tiny_folder: Path) -> None:
    engine = small(tiny_folder)
    for _ in range(2):
        list(engine.generate(list(range(70)), SamplingParams(max_tokens=5, ignore_eos=True)))
    stats = engine.stats()
    assert (stats.prompt_tokens, stats.cached_tokens, stats.new_tokens) == (140, 64, 10)
    assert (stats.running, stats.waiting, stats.blocks_cached) == (0, 0, 4)
    assert stats.blocks_free == stats.blocks == SMALL.kv_tokens // SMALL.block_size  # type: ignore[operator]
    assert stats.reading_seconds > 0
    assert stats.writing_seconds > 0


def test_tools_come_as_events_among_the_others(tiny_folder: Path) -> None:
    engine = small(tiny_folder)
    tool = {"name": "weather", "description": "now", "parameters": {"type": "object", "properties": {}}}
    call = '{"name": "weather", "parameters": {}}'
    params = SamplingParams(max_tokens=200, constraint=Regex(call.replace("{", r"\{").replace("}", r"\}")))
    events = list(engine.chat([{"role": "user", "content": "Rain?"}], params, tools=[tool]))
    assert [event.name for event in events if isinstance(event, ToolCallStart)] == ["weather"]
    assert not any(isinstance(event, TextDelta) for event in events)
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.reason, end.text) == ("stop", call)


def test_rank_is_the_score_and_the_likeliest_in_its_place(tiny_folder: Path) -> None:
    engine = small(tiny_folder)
    ids = torch.randint(0, 500, (100,), generator=torch.Generator().manual_seed(5)).tolist()
    rows = engine.logits(ids).log_softmax(-1)[:-1]
    ranked = engine.rank(ids, 3)
    assert ranked is not None
    torch.testing.assert_close(ranked.logprobs, engine.score(ids, 1), rtol=0, atol=0)
    values, best = rows.topk(3)
    torch.testing.assert_close(ranked.top_logprobs, values, rtol=1e-4, atol=1e-4)
    assert ranked.top_ids.tolist() == best.tolist()
    greedy = [*ids[:-1], int(best[-1, 0])]
    again = engine.rank(greedy, 1)
    assert again is not None
    assert again.logprobs[-1] == again.top_logprobs[-1, 0]  # to the bit: it is the same number


def test_rank_of_one_token_and_of_a_cancelled_prompt(tiny_folder: Path) -> None:
    engine = small(tiny_folder)
    with pytest.raises(PromptError, match="at least two"):
        engine.rank([5])
    with pytest.raises(ParameterError, match="k is -1"):
        engine.rank([5, 6], -1)
    gone = threading.Event()
    gone.set()
    assert engine.rank(list(range(100)), cancel=gone) is None
