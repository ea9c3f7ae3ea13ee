"""A random Llama of a few layers, as a folder that processes of a cluster can load."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def write_tiny(folder: Path) -> Path:
    """The folder, with the model that the engine's own tests use, and a longer window than its answers."""
    path = Path(__file__).parent.parent / "model" / "checkpoints.py"
    spec = importlib.util.spec_from_file_location("checkpoints", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault("checkpoints", importlib.util.module_from_spec(spec))
    if not hasattr(module, "tiny_model"):
        spec.loader.exec_module(module)
    written: Path = module.write_folder(folder, module.tiny_model(max_position_embeddings=8192))
    return written
