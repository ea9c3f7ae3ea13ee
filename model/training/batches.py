"""Examples in token ids, and the order in which they are seen: the same for the same seed, wherever one
starts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A prompt and what is to be written after it. The loss is on `answer` alone.

    Attributes:
        prompt, answer: token ids; the answer ends with the token that ends a turn.
        weight: what the example counts for beside others.
        first: what the answer's first token counts for beside its other ones.
    """

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    weight: float = 1.0
    first: float = 1.0

    @property
    def tokens(self) -> int:
        """Tokens that are read: the last one of the answer is only predicted."""
        return len(self.prompt) + len(self.answer) - 1


@dataclass(frozen=True)
class Batching:
    """How examples become steps.

    Attributes:
        tokens: of one pass, at most; a longer example is a pass of its own.
        passes: whose gradients one step adds up.
        seed: of the order.
    """

    tokens: int = 1024
    passes: int = 8
    seed: int = 0

    def epoch(self, lengths: Sequence[int], number: int) -> list[list[list[int]]]:
        """The steps of an epoch: each is a list of passes, each of these a list of indices of examples.

        Examples of like length share a pass, in random order otherwise.

        Args:
            lengths: tokens of each example.
        """
        chance = random.Random(f"{self.seed} {number}")
        # Lengths are blurred, so that the same examples do not meet in every epoch.
        order = sorted(range(len(lengths)), key=lambda at: lengths[at] * chance.uniform(0.9, 1.1))
        passes: list[list[int]] = []
        held = 0
        for at in order:
            if passes and held + lengths[at] <= self.tokens:
                passes[-1].append(at)
                held += lengths[at]
            else:
                passes.append([at])
                held = lengths[at]
        chance.shuffle(passes)
        return [passes[at : at + self.passes] for at in range(0, len(passes), self.passes)]


def shared_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with alike, the last token of the shortest never among them."""
    if len(prompts) < 2:
        return 0
    # What the first and the last in order have in common, all between them have.
    low, high = min(map(tuple, prompts)), max(map(tuple, prompts))
    most = min(len(low), len(high)) - 1
    return next((at for at in range(most) if low[at] != high[at]), most)
