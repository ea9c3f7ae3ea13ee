"""The models of the engine's tests, loaded once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from checkpoints import tiny_model, write_folder

from model import Engine
from model.text.tokenizer import Tokenizer
from model.text.vocabulary import tokenizer_from_folder


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Steps of few tokens are many small parallel regions; on busy cores each waits for the other thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


LLAMA31 = Path(__file__).resolve().parents[2] / ".cache" / "llama-3.1-tokenizer"


@pytest.fixture(scope="session")
def llama31() -> Tokenizer:
    """Llama 3.1's own tokenizer; that it was not fetched is a failure, never a skip."""
    if not (LLAMA31 / "tokenizer.json").is_file():
        pytest.fail("Llama 3.1's tokenizer is missing: run `make setup-dev` or scripts/fetch_tokenizer.py")
    return tokenizer_from_folder(LLAMA31)
