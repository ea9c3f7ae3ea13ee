"""`longleaf quantize`: a model in 8 bits, written to a folder of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from api.terminal import human_bytes, say, say_json
from model.quant.convert import Format, quantize
from model.weights.hub import resolve


def run(source: str, target: Path, kind: str, *, as_json: bool) -> None:
    """Convert, with progress on a terminal. Raises CheckpointError, OSError."""
    from rich.console import Console  # noqa: PLC0415 (slow to import)
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("tensors", total=None)
        done = quantize(
            resolve(source),
            target,
            cast(Format, kind),
            on_progress=lambda count, total: progress.update(task, completed=count, total=total),
        )
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
