"""The model in one call: the logits and the KV cache of the modules, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import tiny_model, write_folder, write_gguf

from model.attention import Segment
from model.executor import LocalExecutor
from model.loading import load_executor
from model.options import EngineOptions
from model.weights.checkpoint import open_checkpoint

CPU = torch.device("cpu")
IDS = [(37 * i + 11) % 500 for i in range(400)]
PASSES = (
    [Segment(300, 1, (1, 3))],
    [Segment(20, 3, (4,)), Segment(290, 1, (1, 3)), Segment(0, 28, (5,))],
)
"""What decodes after 290 and 20 tokens, alone, and with a draft, another stream and a short prompt."""


def loaded(path: Path, dtype: torch.dtype, weights: str, attention: str = "auto") -> LocalExecutor:
    options = EngineOptions(kv_tokens=6 * 256, attention=attention)
    return load_executor(open_checkpoint(path), CPU, dtype, options, weights)[0]


def passes(executor: LocalExecutor) -> list[torch.Tensor]:
    """Logits of some passes, and what they left in the KV cache."""
    executor.logits(IDS[:300], [Segment(0, 300, (1, 3))], [])
    assert not len(executor.logits(IDS[100:120], [Segment(0, 20, (4,))], []))
    found = []
    for segments in PASSES:
        count = sum(each.count for each in segments)
        logits = executor.logits(IDS[-count:], segments, range(0, count, 2))
        found.append(logits.values)
        if logits.best is not None:
            assert list(logits.best) == logits.values.argmax(dim=1).tolist()
    # Of the blocks that are not full, only what was written.
    return [*found, executor.read(1), executor.read(3)[:, :, :45], executor.read(5)[:, :, :28]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["Q4_1", "Q6_K", "dense", "int8"])
def test_one_call_gives_what_the_modules_give(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    # Neither heads nor inner rows fill the kernels' tiles.
    peer = tiny_model(hidden_size=256, intermediate_size=512 if kind == "Q6_K" else 352)
    if kind in {"dense", "int8"}:
        path, weights = write_folder(tmp_path, peer), kind
    else:
        path, weights = tmp_path / "tiny.gguf", "packed"
        write_gguf(path, peer, kind)
    executor = loaded(path, dtype, weights)
    assert executor._stack is not None
    found = passes(executor)
    executor._stack = None
    for ours, wanted in zip(found, passes(executor), strict=True):
        assert torch.equal(ours, wanted)


def test_other_backends_and_layers_keep_their_modules(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, tiny_model())
    assert loaded(folder, torch.float32, "dense", "sdpa")._stack is None
    assert loaded(folder, torch.float16, "dense", "sdpa")._stack is None
    executor = loaded(folder, torch.float32, "dense")
    block = executor._model.blocks[1]
    block.ffn.down = torch.nn.Sequential(block.ffn.down)  # as a rank's, which adds up over processes
    assert executor._model.stack(executor._pool) is None
