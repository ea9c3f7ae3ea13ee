"""One model over several processes: the answers of one, and an end with a reason where a rank fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import tiny_model, write_folder
from serving import cold, small, tokens

from model import (
    Engine,
    EngineDeadError,
    EngineOptions,
    Event,
    Finished,
    HardwareError,
    ParameterError,
    SamplingParams,
)
from model.attention import Segment
from model.llama.config import LlamaConfig
from model.llama.presets import preset
from model.llama.transformer import Transformer
from model.logits import Logits
from model.parallel.executor import ParallelExecutor
from model.parallel.processes import LocalCrew
from model.parallel.progress import SharedProgress, behind
from model.parallel.shard import Split
from model.quant.convert import quantize
from model.weights.checkpoint import open_checkpoint
from model.weights.mapping import fill

pytestmark = pytest.mark.timeout(120)

PROMPT = [(i * 7919) % 400 for i in range(150)]
GREEDY = SamplingParams(max_tokens=24, ignore_eos=True)
ROOM = 23 * 16
"""Two requests of 150 and 40 tokens are admitted, but do not fit to their ends."""
ENDLESS = SamplingParams(max_tokens=100_000, ignore_eos=True)


@pytest.fixture(scope="module", params=[2, 4])
def spread(request: pytest.FixtureRequest, tiny_folder: Path) -> Iterator[Engine]:
    """The tiny model over 2 ranks, with a key head each, and over 4, of which two share one."""
    with small(tiny_folder, processes=request.param, kv_tokens=ROOM) as engine:
        yield engine


@pytest.fixture(scope="module")
def alone(tiny_folder: Path) -> Iterator[Engine]:
    """The same in one process."""
    with small(tiny_folder, kv_tokens=ROOM) as engine:
        yield engine


def ranks(engine: Engine) -> ParallelExecutor:
    executor = engine._executor
    assert isinstance(executor, ParallelExecutor)
    return executor


def pids_of(engine: Engine) -> list[int]:
    crew = ranks(engine)._crew
    assert isinstance(crew, LocalCrew)
    return crew.pids


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def ended(pids: list[int], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(map(runs, pids)):
        time.sleep(0.05)
    return not any(map(runs, pids))


def test_logits_and_tokens_are_those_of_one_process(spread: Engine, alone: Engine) -> None:
    torch.testing.assert_close(spread.logits(PROMPT), alone.logits(PROMPT), rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(
        spread.score(PROMPT[:40], 3), alone.score(PROMPT[:40], 3), rtol=1e-5, atol=1e-5
    )
    for length in (1, 31, 150):
        expected = tokens(cold(alone, PROMPT[:length], GREEDY))
        assert tokens(cold(spread, PROMPT[:length], GREEDY)) == expected
    assert spread.parameter_count == alone.parameter_count
    assert spread.context_length == alone.context_length


def test_the_prefix_cache_gives_the_same_bits(spread: Engine) -> None:
    first = cold(spread, PROMPT, GREEDY)
    second = list(spread.generate(PROMPT, GREEDY))
    assert isinstance(second[-1], Finished)
    assert second[-1].cached_tokens == 128
    assert tokens(second) == tokens(first)
    logits = spread.logits(PROMPT)
    spread.forget()
    assert torch.equal(spread.logits(PROMPT), logits)


def test_preempted_requests_write_what_they_write_alone(spread: Engine) -> None:
    prompts = [[(i * step) % 500 for i in range(150)] for step in range(3, 7)]
    params = replace(GREEDY, max_tokens=40)
    expected = [tokens(cold(spread, prompt, params)) for prompt in prompts]
    spread.forget()
    before, found = spread.stats().preemptions, [[] for _ in prompts]

    def ask(index: int) -> None:
        found[index] = tokens(spread.generate(prompts[index], params))

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == expected
    assert spread.stats().preemptions > before


def test_blocks_are_read_and_loaded_whole(spread: Engine, alone: Engine) -> None:
    """A block holds all key heads, in the order of the model: tiers could pass it to one process."""
    shape = (2, 2, 16, 2, 16)
    content = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    ranks(spread).load(5, content)
    assert torch.equal(ranks(spread).read(5), content)
    segments = [Segment(0, 16, (7,))]
    for engine in (spread, alone):
        engine.forget()
        engine._executor.logits(PROMPT[:16], segments, [])
    torch.testing.assert_close(ranks(spread).read(7), alone._executor.read(7), rtol=1e-5, atol=1e-5)


def test_the_disk_tier_survives_a_restart(tiny_folder: Path, tmp_path: Path) -> None:
    ends: list[Event] = []
    for _ in range(2):
        with small(tiny_folder, processes=2, kv_folder=tmp_path / "kv") as engine:
            ends.append(list(engine.generate(PROMPT, GREEDY))[-1])
            pids = pids_of(engine)
        assert ended(pids, 1)
        assert engine.failure is None
        with pytest.raises(EngineDeadError, match="closed"):
            list(engine.generate(PROMPT))
    first, second = ends
    assert isinstance(first, Finished)
    assert isinstance(second, Finished)
    assert (first.cached_tokens, second.cached_tokens) == (0, 128)
    assert first.text == second.text


@pytest.fixture(scope="module")
def dense_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four layers, of which FP8 takes the two in the middle."""
    return write_folder(tmp_path_factory.mktemp("dense"), tiny_model(num_hidden_layers=4))


def test_fp8_layers_round_by_the_whole_token_and_an_idle_death_is_seen(
    dense_folder: Path, tmp_path: Path
) -> None:
    quantize(dense_folder, tmp_path / "fp8")
    alone, dense = small(tmp_path / "fp8"), small(dense_folder)
    engine = small(tmp_path / "fp8", processes=2)
    there, here = engine.logits(PROMPT), alone.logits(PROMPT)
    # Each rank's product is rounded to bfloat16 before the sum: 8 bits of what one process computes.
    assert ((there - here).norm() / here.norm()).item() < 0.02
    # What rounding to e4m3 itself changes is larger by far.
    assert ((dense.logits(PROMPT) - here).norm() / here.norm()).item() > 0.04

    assert engine.failure is None
    pids = pids_of(engine)
    os.kill(pids[0], signal.SIGKILL)
    deadline = time.monotonic() + 15
    while engine.failure is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "rank 0 of 2 was killed by SIGKILL" in str(engine.failure)
    assert ended(pids)
    engine.close()


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP"])
def test_a_rank_that_dies_or_stops_is_named_and_ends_everything(tiny_folder: Path, name: str) -> None:
    engine = small(tiny_folder, processes=2, process_seconds=4.0)
    pids = pids_of(engine)
    events, errors = engine.generate(PROMPT, ENDLESS), []
    next(events)

    def wait() -> None:
        try:
            list(engine.generate(PROMPT[:9], ENDLESS))
        except EngineDeadError as error:
            errors.append(error)

    other = threading.Thread(target=wait)
    other.start()
    os.kill(pids[1], getattr(signal, name))
    begin = time.monotonic()
    reason = "rank 1 of 2 " + ("was killed by SIGKILL" if name == "SIGKILL" else "gave no sign of life")
    with pytest.raises(EngineDeadError, match=reason):
        list(events)
    other.join(10)
    assert time.monotonic() - begin < 20
    assert len(errors) == 1
    assert reason in str(engine.failure)
    with pytest.raises(EngineDeadError, match=reason):
        list(engine.generate(PROMPT))
    assert ended(pids, 5)
    engine.close()


def test_a_rank_that_raises_is_named(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = small(tiny_folder, processes=2)
    executor = ranks(engine)
    real = executor.begin

    def nowhere(ids: list[int], segments: list[Segment], rows: list[int]) -> Callable[[], Logits]:
        return real(ids, [replace(each, blocks=()) for each in segments], rows)

    monkeypatch.setattr(executor, "begin", nowhere)
    with pytest.raises(EngineDeadError, match=r"rank \d of 2 failed: .*Error"):
        list(engine.generate(PROMPT[:9]))
    assert engine.failure is not None
    assert ended(pids_of(engine))
    engine.close()


def test_no_rank_outlives_a_killed_parent(tiny_folder: Path) -> None:
    code = """if True:
        import sys, threading, time
        from serving import small
        def load():
            global engine
            engine = small(sys.argv[1], processes=2)
        thread = threading.Thread(target=load)  # that it ends must not end the ranks
        thread.start()
        thread.join()
        time.sleep(1)
        assert engine.failure is None
        print(*engine._executor._crew.pids, flush=True)
        time.sleep(600)
    """
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tiny_folder)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
        text=True,
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(runs, pids))
    parent.kill()
    parent.wait()
    assert ended(pids)
    parent.stdout.close()


def test_what_cannot_be_split_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(ParameterError, match="3"):
        small(tiny_folder, processes=3)
    with pytest.raises(HardwareError, match="room for 16 tokens"):
        small(tiny_folder, processes=2, kv_tokens=16)
    for wrong in ({"processes": 0}, {"process_seconds": 0.0}):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            EngineOptions(**wrong)


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("tied", [False, True])
def test_ranks_hold_slices_of_the_whole(tmp_path: Path, count: int, tied: bool) -> None:
    """511 words: the last rank has fewer than the others."""
    folder = write_folder(tmp_path, tiny_model(vocab_size=511, tie_word_embeddings=tied))
    checkpoint = open_checkpoint(folder)
    whole = Transformer(checkpoint.config)
    fill(whole, *checkpoint.sources(whole))
    config, h = checkpoint.config, checkpoint.config.head_dim
    parts = []
    for rank in range(count):
        split = Split(config, rank, count)
        part = Transformer(split.part)
        fill(part, *checkpoint.sources(part), split.cut)
        parts.append(dict(part.named_parameters()))
    for name, parameter in whole.named_parameters():
        each = [part[name] for part in parts]
        if name.endswith(("embed.weight", "output.weight")):
            found = torch.cat(each)
        elif name.endswith(("out.weight", "down.weight")):
            found = torch.cat(each, dim=1)
        elif name.endswith("gate_up.weight"):
            halves = [piece.chunk(2) for piece in each]
            found = torch.cat([*(gate for gate, _ in halves), *(up for _, up in halves)])
        elif name.endswith("qkv.weight"):
            sizes = [config.heads // count * h, *[max(1, config.kv_heads // count) * h] * 2]
            pieces = [piece.split(sizes) for piece in each]
            step = max(1, count // config.kv_heads)
            found = torch.cat(
                [
                    *(queries for queries, _, _ in pieces),
                    *(keys for _, keys, _ in pieces[::step]),
                    *(values for _, _, values in pieces[::step]),
                ]
            )
            for index, piece in enumerate(pieces):  # the copies are those of the right head
                assert torch.equal(piece[1], pieces[index // step * step][1])
        else:
            assert all(torch.equal(piece, parameter) for piece in each)
            continue
        assert torch.equal(found, parameter), name


@pytest.mark.parametrize("name", ["llama-3.1-8b", "llama-3.1-70b", "llama-3.1-405b"])
@pytest.mark.parametrize("count", [2, 8, 16])
def test_the_published_models_divide(name: str, count: int) -> None:
    config = preset(name)
    assert isinstance(config, LlamaConfig)
    parts = [Split(config, rank, count).part for rank in range(count)]
    assert sum(part.vocab_size for part in parts) == config.vocab_size
    assert sum(part.heads for part in parts) == config.heads
    heads = [Split(config, rank, count).kv_head for rank in range(count)]
    group = config.heads // config.kv_heads
    assert heads == [rank * parts[0].heads // group for rank in range(count)]


def test_ranks_that_are_behind_are_those_waited_for(tmp_path: Path) -> None:
    progress, view = SharedProgress(tmp_path, 3, create=True), SharedProgress(tmp_path, 3)
    assert behind(view.all(), 3) == []
    for rank in (0, 2, 0, 2, 1):
        view.of(rank)[1] += 1
    assert behind(progress.all(), 3) == [1]
