"""`longleaf models plan` and `pull`, and the service's own download."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli import app
from api.loaders import load_engine
from api.terminal import progress
from model.errors import CheckpointError
from model.quant.convert import quantize
from rag.settings import Settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "model"))
from checkpoints import tiny_model, write_folder
from hub_server import HUB_ID, Hub, serving

runner = CliRunner()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = write_folder(tmp_path / "repository", tiny_model())
    with serving(Hub({path.name: path.read_bytes() for path in folder.iterdir()})) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield running


def test_a_plan_for_people_and_for_programs() -> None:
    said = runner.invoke(app, ["models", "plan", "llama-3.1-8b", "--gpu-memory", "80GB"])
    assert said.exit_code == 0
    assert "8,030,261,248 parameters" in said.output
    asked = ["models", "plan", "Llama-3.1-70B", "--gpus", "16", "--dtype", "fp8", "--kv", "fp8", "--json"]
    found = json.loads(runner.invoke(app, asked).output)
    assert found["fits"]
    assert found["replication"] == 2
    assert found["deployment"]["gpu_memory"] == 80 * 10**9


def test_the_exit_code_says_whether_it_fits() -> None:
    assert runner.invoke(app, ["models", "plan", "llama-3.1-405b", "--gpus", "8"]).exit_code == 1
    staged = runner.invoke(app, ["models", "plan", "llama-3.1-405b", "--gpus", "8", "--stages", "2"])
    assert staged.exit_code == 0
    assert "2 stages of 8 GPUs" in staged.output
    assert "stage 1: layers 63 to 125" in staged.output
    short = ["models", "plan", "llama-3.1-405b", "--gpus", "8", "--dtype", "fp8", "--context", "8192"]
    assert runner.invoke(app, short).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["llama-9"], "the shapes that are: llama-3.1-8b"),
        (["llama-3.1-8b", "--gpu-memory", "lots"], "--gpu-memory is 'lots'"),
        (["llama-3.1-8b", "--dtype", "int4"], "allowed: bf16, fp8, int8"),
    ],
)
def test_calls_that_are_wrong(arguments: list[str], said: str) -> None:
    ended = runner.invoke(app, ["models", "plan", *arguments])
    assert ended.exit_code == 2
    assert said in ended.stderr


def test_a_model_is_fetched_listed_and_planned_for(hub: Hub) -> None:
    pulled = runner.invoke(app, ["models", "pull", HUB_ID, "--json"])
    assert pulled.exit_code == 0
    path = json.loads(pulled.output)["path"]
    listed = json.loads(runner.invoke(app, ["models", "--json"]).output)["models"]
    assert [model["path"] for model in listed if model["name"] == HUB_ID] == [path]
    plan = runner.invoke(app, ["models", "plan", HUB_ID, "--gpu-memory", "1"])
    assert plan.exit_code == 0
    assert hub.fetched()
    assert runner.invoke(app, ["models", "pull", "tiny"]).exit_code == 2


def test_the_service_fetches_what_it_may(hub: Hub, tmp_path: Path) -> None:
    settings = Settings(
        _env_file=None, model=HUB_ID, data_dir=tmp_path / "data", dtype="float32", device="cpu"
    )
    with pytest.raises(CheckpointError, match="longleaf models pull"):
        load_engine(settings)
    assert hub.requests == []
    assert load_engine(settings.model_copy(update={"allow_download": True})).context_length == 131_072


@pytest.mark.parametrize("key", ["quantization_config", "compression_config"])
def test_a_plan_takes_the_weights_as_they_are_stored(tmp_path: Path, key: str) -> None:
    folder = write_folder(tmp_path / "model", tiny_model(num_hidden_layers=3))
    quantize(folder, tmp_path / "fp8")
    config = json.loads((tmp_path / "fp8" / "config.json").read_text())
    config[key] = config.pop("quantization_config")
    (tmp_path / "fp8" / "config.json").write_text(json.dumps(config))
    for path, kind in ((folder, "bf16"), (tmp_path / "fp8", "fp8")):
        found = json.loads(runner.invoke(app, ["models", "plan", str(path), "--json"]).output)
        assert found["deployment"]["dtype"] == kind


@pytest.mark.parametrize(("of_bytes", "shown"), [(False, "40%"), (True, "2.0/5.0 MB")])
def test_progress_is_drawn_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, of_bytes: bool, shown: str
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    for stream, drawn in ((Terminal(), True), (io.StringIO(), False)):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            with progress("owner/model\x07", of_bytes=of_bytes) as show:
                show(2_000_000, 5_000_000)
        assert ("owner/model" in stream.getvalue() and shown in stream.getvalue()) == drawn
        assert "\x07" not in stream.getvalue()
        assert drawn or not stream.getvalue()
