"""Trainer: steps of AdamW over examples, with a checkpoint from time to time."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from model.training.batches import Example
from model.training.network import Network, Packed
from model.training.plan import Plan
from model.training.state import State, load, save


@dataclass(frozen=True)
class Progress:
    """Where a run is after a step.

    Attributes:
        step, steps: done, and in all.
        loss: mean of the step's answer tokens, in nats.
        rate: of this step.
        seconds: that all steps up to here took, those before an interruption too.
    """

    step: int
    steps: int
    loss: float
    rate: float
    seconds: float


class Trainer:
    """Fits a network to examples; the same plan and examples give the same steps, interrupted or not."""

    def __init__(
        self,
        network: Network,
        examples: Sequence[Example],
        plan: Plan,
        folder: Path,
        *,
        model: str = "",
        save_seconds: float = 120.0,
    ) -> None:
        """Goes on from the state in `folder` where there is one.

        Args:
            model: names the weights that the network began with.
            save_seconds: time between two checkpoints.

        Raises:
            CheckpointError: the folder holds another run's state.
        """
        self.network, self.examples, self.plan = network, examples, plan
        self._folder, self._save_seconds = folder, save_seconds
        self._device = network.weights.embed.weight.device
        lengths = [example.tokens for example in examples]
        self._steps = [
            passes for epoch in range(plan.epochs) for passes in plan.batching.epoch(lengths, epoch)
        ]
        # A small second moment and a high rate suit adapters; matrices alone decay.
        trained = network.trained
        groups = [
            {"params": [each for each in trained.values() if each.dim() > 1], "weight_decay": plan.decay},
            {"params": [each for each in trained.values() if each.dim() < 2], "weight_decay": 0.0},
        ]
        self._optimiser = torch.optim.AdamW([g for g in groups if g["params"]], lr=plan.height)
        self._identity = self._digest(model)
        self.step, self._seconds = 0, 0.0
        if (state := load(folder, self._identity)) is not None:
            self._take(state)

    @property
    def steps(self) -> int:
        """In all."""
        return len(self._steps)

    def run(self) -> Iterator[Progress]:
        """Train to the end, one step at a time; what is done after a checkpoint is done again after a kill.

        Closing the iterator saves.
        """
        saved = time.monotonic()
        try:
            while self.step < self.steps:
                began = time.perf_counter()
                rate, loss = self._one(self._steps[self.step])
                self._seconds += time.perf_counter() - began
                self.step += 1
                if time.monotonic() - saved >= self._save_seconds:
                    self.save()
                    saved = time.monotonic()
                yield Progress(self.step, self.steps, loss, rate, self._seconds)
        finally:
            self.save()

    def held_out(self, examples: Sequence[Example]) -> float:
        """Mean loss of the answer tokens of examples that are not trained on, in nats; NaN of none."""
        total = weight = 0.0
        with torch.no_grad():
            for example in examples:
                loss, counted = self.network.loss(Packed([example], self._device))
                total, weight = total + float(loss), weight + counted
        return total / weight if weight else math.nan

    def save(self) -> None:
        """Keep the state. Raises OSError."""
        tensors = dict(self.network.trained)
        moments: dict[str, torch.Tensor] = {}
        for name, each in tensors.items():
            kept = self._optimiser.state.get(each)
            if kept:
                moments |= {f"first {name}": kept["exp_avg"], f"second {name}": kept["exp_avg_sq"]}
        save(self._folder, State(self._identity, self.step, self._seconds, {**tensors, **moments}))

    def _take(self, state: State) -> None:
        trained = self.network.trained
        with torch.no_grad():
            for name, each in trained.items():
                each.copy_(state.tensors[name])
                if f"first {name}" in state.tensors:
                    self._optimiser.state[each] = {
                        "step": torch.tensor(float(state.step)),
                        "exp_avg": state.tensors[f"first {name}"].to(each.device),
                        "exp_avg_sq": state.tensors[f"second {name}"].to(each.device),
                    }
        self.step, self._seconds = state.step, state.seconds

    def _one(self, passes: Sequence[Sequence[int]]) -> tuple[float, float]:
        rate = self.plan.rate_at(self.step, self.steps)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.zero_grad(set_to_none=True)
        packs = [Packed([self.examples[at] for at in each], self._device) for each in passes]
        whole = sum(float(pack.weights.sum()) for pack in packs)
        total = 0.0
        for pack in packs:
            loss, _ = self.network.loss(pack)
            (loss / whole).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        nn.utils.clip_grad_norm_(self.network.trained.values(), self.plan.clip)
        self._optimiser.step()
        return rate, total / whole

    def _digest(self, model: str) -> str:
        digest = hashlib.sha256(json.dumps([model, self.plan.as_dict()], sort_keys=True).encode())
        for each in self.examples:
            digest.update(f"{each.prompt} {each.answer} {each.weight} {each.first}\n".encode())
        return digest.hexdigest()
