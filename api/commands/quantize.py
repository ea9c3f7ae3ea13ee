"""`longleaf quantize`: a model in 8 bits, written to a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from api.terminal import human_bytes, progress, say, say_json
from model.quant.convert import Format, quantize
from model.weights.hub import resolve


def run(source: str, target: Path, kind: str, *, as_json: bool) -> None:
    """Convert, with progress on a terminal. Raises CheckpointError, OSError."""
    with progress("tensors") as show:
        done = quantize(resolve(source), target, cast(Format, kind), on_progress=show)
    if as_json:
        say_json(
            {
                "target": str(done.target),
                "format": kind,
                "matrices": done.matrices,
                "tensors": done.tensors,
                "bytes": done.weight_bytes,
                "kept_bytes": done.kept_bytes,
            }
        )
        return
    kept = f", {human_bytes(done.kept_bytes)} of them kept of an interrupted run" if done.kept_bytes else ""
    say(
        f"{done.target}: {done.matrices} of {done.tensors} tensors in {kind}, the others in bfloat16, "
        f"{human_bytes(done.weight_bytes)}{kept}."
    )
