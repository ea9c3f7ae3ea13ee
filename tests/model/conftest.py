"""The models of the engine's tests, loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoints import tiny_model, write_folder

from model import Engine


@pytest.fixture(scope="session")
def bundled() -> Engine:
    """SmolLM2-135M in float32."""
    return Engine.load("auto", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama-3.1 of two layers."""
    return write_folder(tmp_path_factory.mktemp("tiny"), tiny_model())


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Engine:
    """`tiny_folder`, loaded in float32."""
    return Engine.load(tiny_folder, device="cpu", dtype="float32")
