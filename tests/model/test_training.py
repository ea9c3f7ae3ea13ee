"""Training: the engine's logits, transformers' gradients, the same weights after an interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import pytest
import torch
from checkpoints import tiny_model, write_folder
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaForCausalLM

from model import CheckpointError, Engine
from model.llama.transformer import Transformer
from model.training import Batching, Example, LoRA, Network, Plan, Trainer, open_network
from model.training import write_folder as export
from model.training.batches import shared_prefix
from model.training.network import Packed
from model.weights.mapping import fill, hf_placements

CPU = torch.device("cpu")
WORDS = [7, 9, 30, 41, 55, 60, 71, 80]
EXAMPLES = [
    Example((3, 5, 8, WORDS[at], 11), (WORDS[at] + 1, WORDS[-at - 1], 2), 1.0 + at % 2)
    for at in range(len(WORDS))
]
LORA = LoRA(rank=4, alpha=8.0)


def opened(folder: Path, lora: LoRA | None = LORA) -> Network:
    return open_network(folder, lora=lora, device="cpu", dtype="float32")[0]


def stirred(network: Network) -> Network:
    """The network with adapters whose product is not 0."""
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, each in network.trained.items():
            if name.endswith(".b"):
                each.normal_(std=0.05, generator=random)
    return network


def plan(*, lora: LoRA | None = LORA, epochs: int = 3) -> Plan:
    return Plan(lora=lora, epochs=epochs, rate=3e-3, batching=Batching(tokens=16, passes=2))


def test_the_first_token_counts_for_what_it_is_told_to(tiny_folder: Path) -> None:
    network = opened(tiny_folder)
    with torch.no_grad():
        evenly, _ = network.loss(Packed([Example((3, 5, 8), (7, 9, 2))], CPU))
        first, _ = network.loss(Packed([Example((3, 5, 8), (7,))], CPU))
        found, weight = network.loss(Packed([Example((3, 5, 8), (7, 9, 2), 0.5, 8.0)], CPU))
    assert weight == 0.5 * (8 + 2)
    torch.testing.assert_close(found, 0.5 * (evenly + 7 * first))


def test_the_logits_are_the_engines(tiny_folder: Path, tiny: Engine) -> None:
    network = opened(tiny_folder)
    ids = list(range(20, 60))
    with torch.no_grad():
        found = network(Packed([Example(tuple(ids[:1]), (*ids[1:], 0))], CPU))
    wanted = tiny.logits(ids)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5


def test_the_bundled_model_in_bfloat16_is_near_the_engine(bundled: Engine) -> None:
    network = open_network("auto", lora=LORA, device="cpu", dtype="bfloat16")[0]
    ids = bundled.tokenizer.encode(
        "The longleaf pine is native to the coast of the southeastern United States."
    )
    with torch.no_grad():
        found = network(Packed([Example(tuple(ids[:1]), (*ids[1:], 0))], CPU)).float()
    wanted = bundled.logits(ids)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 0.05
    assert float((found.argmax(-1) == wanted.argmax(-1)).float().mean()) > 0.9


def test_what_prompts_share_is_computed_once_to_the_same_loss(tiny_folder: Path) -> None:
    network = stirred(opened(tiny_folder))
    together = Packed(EXAMPLES, CPU)
    assert together.shared == 3
    assert len(together.ids) == 3 + sum(each.tokens - 3 for each in EXAMPLES)
    loss, weight = network.loss(together)
    alone = [network.loss(Packed([each], CPU)) for each in EXAMPLES]
    assert weight == sum(each for _, each in alone)
    assert float(loss.detach()) == pytest.approx(sum(float(each.detach()) for each, _ in alone), rel=1e-5)
    assert shared_prefix([(1, 2, 3), (1, 2, 3)]) == 2, "the last token of a prompt predicts, so it is its own"
    assert shared_prefix([(1, 2, 3)]) == 0


def peer_gradients(peer: LlamaForCausalLM) -> Mapping[str, Tensor]:
    """By name, of the examples' loss, one example after the other."""
    peer.zero_grad()
    for each in EXAMPLES:
        ids = [*each.prompt, *each.answer]
        logits = peer(torch.tensor([ids[:-1]])).logits[0, len(each.prompt) - 1 :]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(each.answer), reduction="sum")
        (loss * each.weight).backward()
    return {name: each.grad for name, each in peer.named_parameters() if each.grad is not None}


def test_gradients_are_those_of_transformers(tiny_folder: Path, tmp_path: Path) -> None:
    network, checkpoint, source = open_network(tiny_folder, lora=LORA, device="cpu", dtype="float32")
    stirred(network)
    export(network, checkpoint, source, tmp_path, "merged")
    # The file is bfloat16: the peer gets the merged weights as they are, through the same names.
    peer = tiny_model()
    merged = Transformer(checkpoint.config)
    fill(merged, *checkpoint.sources())
    with torch.no_grad():
        for key, adapter in network.adapters.items():
            merged.get_parameter(f"blocks.{key.replace('/', '.')}.weight").add_(adapter.product())
        state = peer.state_dict()
        for name, place in hf_placements(checkpoint.config).items():
            rows = merged.get_parameter(place.parameter).narrow(0, place.first, place.rows)
            if place.weave:
                rows = rows.reshape(place.weave, -1, 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)
            state[name].copy_(rows)
            assert torch.equal(load_file(tmp_path / "model.safetensors")[name], rows.to(torch.bfloat16))
    held = Transformer(checkpoint.config)
    gradients = peer_gradients(peer)
    fill(held, hf_placements(checkpoint.config), gradients.__getitem__)

    loss, _ = network.loss(Packed(EXAMPLES, CPU))
    loss.backward()  # type: ignore[no-untyped-call]
    for key, adapter in network.adapters.items():
        whole = held.get_parameter(f"blocks.{key.replace('/', '.')}.weight").detach()
        for found, wanted in (
            (adapter.a.grad, LORA.scale * adapter.b.detach().T @ whole),
            (adapter.b.grad, LORA.scale * whole @ adapter.a.detach().T),
        ):
            assert float((found - wanted).abs().max()) < 1e-4 * float(wanted.abs().max()), key


def test_a_whole_models_gradients_are_those_of_transformers(tiny_folder: Path) -> None:
    network = opened(tiny_folder, lora=None)
    held = Transformer(network.config)
    fill(held, hf_placements(network.config), peer_gradients(tiny_model()).__getitem__)
    loss, _ = network.loss(Packed(EXAMPLES, CPU))
    loss.backward()  # type: ignore[no-untyped-call]
    assert len(network.trained) == sum(1 for _ in held.parameters()) - 1, (
        "the embedding alone is left as it is"
    )
    for name, each in network.trained.items():
        wanted = held.get_parameter(name.removeprefix("weights."))
        assert each.grad is not None
        assert float((each.grad - wanted.detach()).abs().max()) < 1e-4 * float(wanted.detach().abs().max()), (
            name
        )


@pytest.mark.parametrize("lora", [LORA, None], ids=["adapters", "whole"])
def test_training_learns_the_answers_and_writes_a_model_that_says_them(
    tiny_folder: Path, tmp_path: Path, lora: LoRA | None
) -> None:
    network, checkpoint, source = open_network(tiny_folder, lora=lora, device="cpu", dtype="float32")
    (tmp_path / "state").mkdir()
    trainer = Trainer(network, EXAMPLES, plan(lora=lora, epochs=60), tmp_path / "state")
    before = trainer.held_out(EXAMPLES)
    steps = list(trainer.run())
    assert len(steps) == trainer.steps
    assert before > 2
    assert trainer.held_out(EXAMPLES) < 0.1
    target = tmp_path / "model"
    target.mkdir()
    export(network, checkpoint, source, target, "taught")
    engine = Engine.load(target, device="cpu", dtype="float32")
    peer = LlamaForCausalLM.from_pretrained(target, dtype="float32").eval()
    assert engine.name == "taught"
    for each in EXAMPLES:
        ids = [*each.prompt, *each.answer[:-1]]
        ours = engine.logits(ids)
        with torch.no_grad():
            theirs = peer(torch.tensor([ids])).logits[0]
        assert tuple(ours[len(each.prompt) - 1 :].argmax(-1).tolist()) == each.answer
        assert float((ours - theirs).abs().max() / theirs.abs().max()) < 1e-4
    engine.close()


def trained_to(folder: Path, model: Path, stops: tuple[int, ...], lora: LoRA | None) -> dict[str, Tensor]:
    """What is trained after a run that was broken off, and gone on with, after so many steps each."""
    folder.mkdir()
    for stop in (*stops, None):
        trainer = Trainer(opened(model, lora), EXAMPLES, plan(lora=lora), folder)
        run = trainer.run()
        list(islice(run, stop))
        run.close()
    assert trainer.step == trainer.steps
    return {name: each.detach().clone() for name, each in trainer.network.trained.items()}


@pytest.mark.parametrize("lora", [LORA, None], ids=["adapters", "whole"])
def test_a_run_that_is_broken_off_ends_in_the_same_weights(
    tiny_folder: Path, tmp_path: Path, lora: LoRA | None
) -> None:
    straight = trained_to(tmp_path / "a", tiny_folder, (), lora)
    broken = trained_to(tmp_path / "b", tiny_folder, (1, 3), lora)
    assert straight.keys() == broken.keys()
    assert all(torch.equal(straight[name], broken[name]) for name in straight)


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from test_training import EXAMPLES, opened, plan
from model.training import Trainer
import torch
torch.set_num_threads(1)
trainer = Trainer(opened(Path(sys.argv[1])), EXAMPLES, plan(), Path(sys.argv[2]), save_seconds=0.0)
print("from", trainer.step, flush=True)
for progress in trainer.run():
    print(progress.step, flush=True)
    sys.stdin.readline()
"""


def test_a_killed_process_goes_on_from_its_last_checkpoint(tiny_folder: Path, tmp_path: Path) -> None:
    straight = trained_to(tmp_path / "a", tiny_folder, (), LORA)
    folder = tmp_path / "b"
    folder.mkdir()
    paths = [str(Path(__file__).parent), os.getcwd()]
    command = [sys.executable, "-c", KILLED, str(tiny_folder), str(folder), *paths]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018
        assert process.stdout.readline() == "from 0\n"
        for _ in range(2):
            process.stdout.readline()
            process.stdin.write("\n")
            process.stdin.flush()
        assert process.stdout.readline() == "3\n"
        process.send_signal(signal.SIGKILL)
    trainer = Trainer(opened(tiny_folder), EXAMPLES, plan(), folder)
    assert trainer.step == 3
    list(trainer.run())
    found = trainer.network.trained
    assert all(torch.equal(straight[name], found[name]) for name in straight)


def test_the_state_of_another_run_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = Trainer(opened(tiny_folder), EXAMPLES, plan(), tmp_path)
    trainer.save()
    with pytest.raises(CheckpointError, match="another plan"):
        Trainer(opened(tiny_folder), EXAMPLES, plan(epochs=4), tmp_path)
    (tmp_path / "training.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="cannot be read"):
        Trainer(opened(tiny_folder), EXAMPLES, plan(), tmp_path)


def test_every_example_is_seen_once_an_epoch_within_the_passes_tokens() -> None:
    lengths = [5, 9, 30, 4, 8, 8, 12, 3]
    batching = Batching(tokens=20, passes=2, seed=1)
    epochs = [batching.epoch(lengths, number) for number in range(3)]
    for steps in epochs:
        passes = [each for step in steps for each in step]
        assert sorted(at for each in passes for at in each) == list(range(len(lengths)))
        assert all(sum(lengths[at] for at in each) <= 20 or len(each) == 1 for each in passes)
        assert all(len(step) <= 2 for step in steps)
    assert epochs[0] != epochs[1]
    assert epochs[0] == batching.epoch(lengths, 0)


def test_a_network_that_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, tiny_model())
    config = (folder / "config.json").read_text()
    quantised = config.replace("{", '{"quantization_config": {"quant_method": "fbgemm_fp8"},', 1)
    (folder / "config.json").write_text(quantised)
    with pytest.raises(CheckpointError, match="quantised"):
        opened(folder)
