"""State: a training run on disk, so that the same command goes on where it was killed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.errors import CheckpointError

_FILE = "training.safetensors"


@dataclass(frozen=True)
class State:
    """What is trained and the optimiser's moments, by name, after `step` steps.

    Attributes:
        identity: of plan, examples and model: another run's state is not taken.
        seconds: that the steps took.
    """

    identity: str
    step: int
    seconds: float
    tensors: Mapping[str, Tensor]


def save(folder: Path, state: State) -> None:
    """Put the state in place of the one before, at once. Raises OSError."""
    said = {"identity": state.identity, "step": state.step, "seconds": state.seconds}
    fresh = folder / f"{_FILE}.new"
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    save_file(tensors, fresh, metadata={"state": json.dumps(said)})
    with fresh.open("rb+") as file:
        os.fsync(file.fileno())
    fresh.replace(folder / _FILE)


def load(folder: Path, identity: str) -> State | None:
    """The state that was saved; None where there is none.

    Raises:
        CheckpointError: it is another run's, or damaged.
    """
    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            said = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; remove it to begin anew") from error
    if said["identity"] != identity:
        raise CheckpointError(
            f"{path} is of a run with another model, other examples or another plan: give the same again, or "
            "another folder"
        )
    return State(identity, int(said["step"]), float(said["seconds"]), tensors)


def remove(folder: Path) -> None:
    """Forget the state of a run that is done."""
    (folder / _FILE).unlink(missing_ok=True)
