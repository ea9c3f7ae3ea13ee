"""The parts of bench/gpu.py and bench/growth.py that need neither a GPU nor a long time."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
import torch
from torch import Tensor

from bench import gpu, growth
from bench.growth import Point
from model.attention.sdpa import SdpaAttend
from model.llama.config import LlamaConfig
from model.llama.presets import llama3_scaling

CPU = torch.device("cpu")
TINY = LlamaConfig(64, 32, 2, 4, 2, 8, 64, 1e-5, 5e5, llama3_scaling(8.0), 4096, False)
SHAPE = {"heads": 8, "kv_heads": 2, "head_dim": 64}


class Backwards(SdpaAttend):
    """Wrong in one row of one case: the last query of a pass sees nothing of its own."""

    name = "backwards"

    def with_lse(self, queries: Tensor, keys: Tensor, values: Tensor, plan: list) -> tuple[Tensor, Tensor]:
        out, lse = super().with_lse(queries, keys, values, plan)
        if len(out) == 8:
            out[-1] = 0
        return out, lse


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_contract_holds_for_a_right_backend(dtype: torch.dtype) -> None:
    results = gpu.contract(SdpaAttend(), CPU, dtype, **SHAPE)
    assert [each.case for each in results] == list(gpu.CASES)
    assert all(each.holds(dtype) for each in results)


def test_the_contract_finds_a_wrong_row() -> None:
    results = gpu.contract(Backwards(), CPU, torch.bfloat16, **SHAPE)
    assert [each.case for each in results if not each.holds(torch.bfloat16)] == ["drafts together"]


def test_what_is_not_a_number_does_not_hold() -> None:
    class Void(SdpaAttend):
        def with_lse(self, *args: object) -> tuple[Tensor, Tensor]:
            out, lse = super().with_lse(*args)  # type: ignore[arg-type]
            return out * torch.nan, lse

    assert not any(each.holds(torch.bfloat16) for each in gpu.contract(Void(), CPU, torch.bfloat16, **SHAPE))


def test_speed_asks_every_prompt_cold_and_again() -> None:
    with gpu.random_engine(TINY, CPU, torch.float32, attention="sdpa", kv_tokens=4096) as engine:
        result = gpu.speed(engine, 1100, new=8, repeats=2)
    assert result.cached_tokens == 1024
    assert min(result.hit, result.decode, result.prefill) > 0


def test_the_tables(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(gpu.PRESETS, "llama-3.1-8b", TINY)
    assert gpu.run(gpu.parse(["--only", "contract"]), CPU) == 0
    printed = capsys.readouterr().out
    assert "| sdpa | decode |" in printed
    assert "| flash2 | not run: attention 'flash2' cannot run here: it needs a CUDA device" in printed
    assert "WRONG" not in printed
    monkeypatch.setattr(gpu, "contract", lambda *_, **__: [gpu.Agreement("sdpa", "decode", 1.0, 0.0)])
    assert gpu.run(gpu.parse(["--only", "contract"]), CPU) == 1
    assert "WRONG" in capsys.readouterr().out
    assert gpu.run(gpu.parse(["--only", "speed", "--context", "600", "--repeats", "1"]), CPU) == 0
    assert "| decode, a token |" in capsys.readouterr().out
    assert gpu.row("x", 0.010, 0.012, 1e3, "ms") == "| x | 10.00 ms | ≤ 12 ms | met |"
    assert gpu.row("x", 15.0, 14.0).endswith("missed |")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gpu"])
    assert gpu.main() == gpu.NO_GPU == 3
    said = capsys.readouterr()
    assert "no GPU" in said.err
    assert said.out == ""


POINTS = [Point(n, 2e-3 * n + 1e-7 * n * n, 30_000.0 * n) for n in (2048, 4096, 8192)]


def test_the_fit_finds_both_costs() -> None:
    assert growth.fit(POINTS) == (pytest.approx(2e-3), pytest.approx(1e-7))


def test_the_plot_is_well_formed_and_holds_every_point() -> None:
    root = ET.fromstring(growth.svg(POINTS, 'a "model" & more'))  # noqa: S314 (our own text)
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == 'a "model" & more'
    assert {"2k", "4k", "8k", "4.5", "9.9", "23"} <= set(texts)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 2 * len(POINTS)


def test_the_table_and_the_medians() -> None:
    slow = [Point(p.tokens, 3 * p.seconds, 0.0) for p in POINTS]
    assert growth.medians([POINTS, slow, POINTS]) == POINTS
    lines = growth.table(POINTS, 4096).splitlines()
    assert lines[-1].startswith("| 8,192 | 23.09 | 355 | 23.09 | 234 | 32 |")


def test_growth_is_measured_at_the_marks() -> None:
    engine = gpu.random_engine(TINY, CPU, torch.float32, attention="sdpa", kv_tokens=4096)
    with engine:
        points = growth.measure(engine._executor, list(range(64)) * 16, [512, 1024], 256)  # type: ignore[arg-type]
    assert [p.tokens for p in points] == [512, 1024]
    assert 0 < points[0].seconds < points[1].seconds
