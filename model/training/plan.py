"""Plan: how long, how fast and how steadily a model is trained."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from model.errors import ParameterError
from model.training.batches import Batching
from model.training.lora import LoRA


@dataclass(frozen=True)
class Plan:
    """Everything that decides what comes of the same examples.

    Attributes:
        lora: the adapters; None trains the model whole.
        epochs: times that every example is seen.
        rate: of AdamW at its height; 0.0 takes 1e-3 for adapters, 5e-5 for a whole model.
        warm_up: share of the steps in which the rate rises; then it falls as a cosine does, to a twentieth.
        decay: weight decay.
        clip: longest gradient.
        batching: how examples become steps.
    """

    lora: LoRA | None = field(default_factory=LoRA)
    epochs: int = 2
    rate: float = 0.0
    warm_up: float = 0.05
    decay: float = 0.01
    clip: float = 1.0
    batching: Batching = field(default_factory=Batching)

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("rate", 0.0), ("decay", 0.0)):
            if getattr(self, name) < least:
                raise ParameterError(f"{name} is {getattr(self, name)}; allowed: at least {least}")
        if not 0 <= self.warm_up < 1:
            raise ParameterError(f"warm_up is {self.warm_up}; allowed: from 0 to less than 1")

    @property
    def height(self) -> float:
        """The rate at its height."""
        return self.rate or (5e-5 if self.lora is None else 1e-3)

    def rate_at(self, step: int, steps: int) -> float:
        """The rate of a step, from 0, of so many."""
        rising = max(1, round(self.warm_up * steps))
        if step < rising:
            return self.height * (step + 1) / rising
        part = (step - rising) / max(1, steps - rising)
        return self.height * (0.05 + 0.95 * (1 + math.cos(math.pi * part)) / 2)

    def as_dict(self) -> dict[str, Any]:
        """The plan as a checkpoint keeps it."""
        return asdict(self)
