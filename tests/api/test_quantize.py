"""`longleaf quantize`, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from api.cli import _run
from model.quant import convert
from tests.model.checkpoints import tiny_model, write_folder


@pytest.mark.parametrize("kind", ["fp8", "int8"])
def test_a_model_is_converted_once(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    source = write_folder(tmp_path / "source", tiny_model(num_hidden_layers=3))
    target = tmp_path / "target"
    capsys.readouterr()
    command = ["quantize", str(source), str(target), "--format", kind]
    assert _run([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    size = (target / "model.safetensors").stat().st_size
    matrices = 3 if kind == "fp8" else 21
    assert told == {
        "target": str(target), "format": kind, "matrices": matrices, "tensors": 30, "bytes": size,
        "kept_bytes": 0,
    }  # fmt: skip
    assert _run(command) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "exists" in said.err
    assert _run([*command[:2], str(tmp_path / "other"), "--format", "fp4"]) == 2
    assert _run(["quantize", str(target), str(tmp_path / "other")]) == 1
    assert "quantised already" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_the_result_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_folder(tmp_path / "source", tiny_model(num_hidden_layers=3))
    capsys.readouterr()
    assert _run(["quantize", str(source), str(tmp_path / "target")]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{tmp_path / 'target'}: 3 of 30 tensors in fp8, the others in bfloat16, ")
    assert said.err == ""


def test_an_interrupted_run_is_gone_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_folder(tmp_path / "source", tiny_model(num_hidden_layers=3))
    command = ["quantize", str(source), str(tmp_path / "target")]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(convert, "write_tokenizer", interrupt)  # after the weights
        assert _run(command) == 130
    said = capsys.readouterr()
    assert said.out == ""
    assert "the same command goes on from there" in said.err
    assert _run(command) == 0
    assert " of them kept of an interrupted run." in capsys.readouterr().out
