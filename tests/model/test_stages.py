"""One model cut into stages: the bits of one stage, only its own weights read, a failure that is named."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import tiny_model, write_folder
from serving import cold, small, tokens

from model import Engine, EngineDeadError, EngineOptions, Finished, ParameterError, SamplingParams
from model.attention import Segment
from model.llama.transformer import Transformer
from model.loading import load_weights
from model.parallel.executor import ParallelExecutor
from model.parallel.processes import LocalCrew
from model.parallel.progress import behind
from model.parallel.stage import Elsewhere, Stage
from model.stages import cut_layers, idle_share
from model.weights.checkpoint import FolderCheckpoint, open_checkpoint
from model.weights.mapping import fill

pytestmark = pytest.mark.timeout(600)

LAYERS = 5
PROMPT = [(i * 7919) % 400 for i in range(150)]
GREEDY = SamplingParams(max_tokens=24, ignore_eos=True)
ROOM = 23 * 16
"""Two requests of 150 and 40 tokens are admitted, but do not fit to their ends."""


@pytest.fixture(scope="module")
def tall_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five layers, which neither two nor three stages divide."""
    return write_folder(tmp_path_factory.mktemp("tall"), tiny_model(num_hidden_layers=LAYERS))


@pytest.fixture(scope="module")
def unstaged(tall_folder: Path) -> Iterator[Callable[[int], Engine]]:
    """The same ranks in one stage, by their number."""
    made: dict[int, Engine] = {}

    def give(ranks: int) -> Engine:
        if ranks not in made:
            made[ranks] = small(tall_folder, processes=ranks, kv_tokens=ROOM)
        return made[ranks]

    yield give
    for engine in made.values():
        engine.close()


@pytest.fixture(scope="module", params=[(2, 1), (3, 1), (2, 2)], ids=["2 stages", "3 stages", "2 by 2"])
def both(
    request: pytest.FixtureRequest, tall_folder: Path, unstaged: Callable[[int], Engine]
) -> Iterator[tuple[Engine, Engine]]:
    """The model in stages, and what it is held against."""
    stages, ranks = request.param
    with small(tall_folder, processes=ranks, stages=stages, kv_tokens=ROOM) as engine:
        yield engine, unstaged(ranks)


def spread(engine: Engine) -> ParallelExecutor:
    executor = engine._executor
    assert isinstance(executor, ParallelExecutor)
    return executor


def test_logits_and_tokens_are_the_same_bits(both: tuple[Engine, Engine]) -> None:
    staged, one = both
    assert torch.equal(staged.logits(PROMPT), one.logits(PROMPT))
    assert torch.equal(staged.score(PROMPT[:40], 3), one.score(PROMPT[:40], 3))
    for length in (1, 31, 150):
        assert tokens(cold(staged, PROMPT[:length], GREEDY)) == tokens(cold(one, PROMPT[:length], GREEDY))
    assert staged.parameter_count == one.parameter_count
    assert staged.context_length == one.context_length


def test_cached_and_preempted_requests_give_the_same_bits(both: tuple[Engine, Engine]) -> None:
    staged, one = both
    logits = staged.logits(PROMPT)
    found = list(staged.generate(PROMPT, GREEDY))
    assert isinstance(found[-1], Finished)
    assert found[-1].cached_tokens == 128
    assert torch.equal(staged.logits(PROMPT), logits)
    prompts = [[(i * step) % 500 for i in range(150)] for step in range(3, 7)]
    params = replace(GREEDY, max_tokens=40)
    expected = [tokens(cold(one, prompt, params)) for prompt in prompts]
    staged.forget()
    before, written = staged.stats().preemptions, [[] for _ in prompts]

    def ask(index: int) -> None:
        written[index] = tokens(staged.generate(prompts[index], params))

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert written == expected
    assert staged.stats().preemptions > before


def test_blocks_are_joined_over_layers_and_heads(both: tuple[Engine, Engine]) -> None:
    staged, one = both
    content = torch.randn((LAYERS, 2, 16, 2, 16), generator=torch.Generator().manual_seed(3))
    staged._executor.load(5, content)
    assert torch.equal(staged._executor.read(5), content)
    for engine in both:
        engine.forget()
        engine._executor.logits(PROMPT[:16], [Segment(0, 16, (7,))], [])
    assert torch.equal(staged._executor.read(7), one._executor.read(7))
    # Tiers of one are those of the other.
    if isinstance(one._executor, ParallelExecutor):
        assert staged._executor.kind == one._executor.kind


def test_chunks_of_one_prompt_are_under_way_at_a_time(both: tuple[Engine, Engine]) -> None:
    """Five chunks take as many steps as stages are filled with; many passes wait for nobody."""
    staged, one = both
    stages = spread(staged).stages
    steps = []
    for engine in both:
        engine.forget()
        before = engine.stats().steps
        engine.score(PROMPT, 149)
        steps.append(engine.stats().steps - before)
    assert steps == [-(-5 // stages), 5]
    passes = [
        (PROMPT[at : at + 32], [Segment(at, 32, (1, 2, 3, 4, 5, 6, 7, 8))], [31]) for at in range(0, 128, 32)
    ]
    begun = [staged._executor.begin(*each) for each in passes]
    inner = staged._executor.read(1)  # asked after them, answered after them
    found = [each().values for each in begun]
    assert torch.equal(inner, staged._executor.read(1))
    for each, logits in zip(passes, found, strict=True):
        assert torch.equal(one._executor.logits(*each).values, logits)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("stages", [2, 4])
def test_a_stage_reads_and_holds_its_own_layers(tmp_path: Path, stages: int, tied: bool) -> None:
    folder = write_folder(tmp_path, tiny_model(num_hidden_layers=LAYERS, tie_word_embeddings=tied))
    checkpoint = open_checkpoint(folder)
    assert isinstance(checkpoint, FolderCheckpoint)
    config = checkpoint.config
    whole = Transformer(config)
    fill(whole, *checkpoint.sources(whole))
    wanted = dict(whole.named_parameters())
    read: list[str] = []
    tensor = checkpoint._tensors.tensor

    def noted(name: str) -> torch.Tensor:
        read.append(name)
        return tensor(name)

    checkpoint._rows._tensor = noted
    seen: list[str] = []
    for index in range(stages):
        stage, read[:] = Stage(config, index, stages), []
        model = load_weights(
            checkpoint, config, torch.device("cpu"), torch.float32, "dense", None, stage.keep
        )
        first, last = stage.layers
        layers = {int(name.split(".")[2]) for name in read if ".layers." in name}
        assert layers == set(range(first, last))
        assert ("model.embed_tokens.weight" in read) == (stage.first or (tied and stage.last))
        assert ("lm_head.weight" in read) == (stage.last and not tied)
        assert ("model.norm.weight" in read) == stage.last
        for name, parameter in model.named_parameters():
            _, layer, rest = name.split(".", 2) if name.startswith("blocks.") else ("", "", "")
            original = f"blocks.{int(layer) + first}.{rest}" if layer else name
            if tied and name == "output.weight":
                original = "embed.weight"
            assert torch.equal(parameter, wanted[original]), name
            seen.append(original)
        assert isinstance(model.norm, Elsewhere) != stage.last
    assert set(seen) == set(wanted)


def test_layers_are_dealt_out_evenly_and_the_middle_has_more() -> None:
    def sizes(layers: int, stages: int) -> list[int]:
        cuts = cut_layers(layers, stages)
        assert [first for first, _ in cuts] == [0, *(last for _, last in cuts[:-1])]
        assert cuts[-1][1] == layers
        return [last - first for first, last in cuts]

    assert sizes(126, 2) == [63, 63]
    assert sizes(126, 4) == [31, 32, 32, 31]
    assert sizes(30, 4) == [7, 8, 8, 7]  # SmolLM2-135M
    assert sizes(5, 2) == [3, 2]
    assert sizes(5, 3) == [2, 2, 1]
    assert sizes(3, 3) == [1, 1, 1]
    for stages in (0, 6):
        with pytest.raises(ParameterError, match=f"stages is {stages}"):
            cut_layers(5, stages)
    assert idle_share(1, 1) == 0
    assert idle_share(4, 1) == 0.75
    assert idle_share(2, 8) == pytest.approx(1 / 9)


def test_more_stages_than_layers_are_refused(tall_folder: Path) -> None:
    with pytest.raises(ParameterError, match="stages is 6; allowed: 1 to 5"):
        small(tall_folder, stages=6)
    with pytest.raises(ParameterError, match="stages is 0"):
        EngineOptions(stages=0)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP"])
def test_a_stage_that_dies_or_hangs_is_named(tall_folder: Path, name: str) -> None:
    engine = small(tall_folder, stages=2, process_seconds=8.0)
    crew = spread(engine)._crew
    assert isinstance(crew, LocalCrew)
    events = engine.generate(PROMPT, SamplingParams(max_tokens=100_000, ignore_eos=True))
    next(events)
    os.kill(crew.pids[1], getattr(signal, name))
    how = "was killed by SIGKILL" if name == "SIGKILL" else "gave no sign of life within 8 seconds"
    with pytest.raises(EngineDeadError, match=rf"^rank 1 of 2 \(stage 1 of 2\) {how}"):
        list(events)
    assert how in str(engine.failure)
    engine.close()


def test_a_stage_waits_for_those_before_it() -> None:
    """Two ranks in each of two stages; passes computed and collectives entered."""
    assert behind({}, 2) == []
    assert behind({0: (3, 9), 1: (3, 9)}, 2) == []
    assert behind({0: (3, 9), 1: (3, 9), 2: (3, 9), 3: (3, 9)}, 2) == [0, 1]  # the next pass begins there
    # Stage 0 has passed three on, stage 1 is in its third: whoever of it entered less.
    assert behind({0: (3, 9), 1: (3, 9), 2: (2, 8), 3: (2, 7)}, 2) == [3]
    # Stage 1 has nothing to do until stage 0 has computed it.
    assert behind({0: (2, 7), 1: (2, 7), 2: (2, 8), 3: (2, 8)}, 2) == [0, 1]
    assert behind({0: (2, 6), 1: (2, 7), 2: (2, 8), 3: (2, 8)}, 2) == [0]
