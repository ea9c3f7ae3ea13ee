"""Scaling: how many engines the tokens that wait call for.

Requests say little: one of 100,000 tokens is a thousand of 100. What a person waits for is that the tokens
before theirs are read, so that is what is kept bounded.
"""

from __future__ import annotations

import math


def engines_for(waiting: float, target: float, now: int, least: int, most: int) -> int:
    """Engines so that each has about `target` tokens waiting.

    Args:
        waiting: tokens that wait, at all engines and before them.
        target: tokens that one engine should have waiting; it reads them in `target` / its tokens a second.
        now: engines that there are. They are kept while half of the target waits for each of one fewer: at
            the border of two numbers nothing comes and goes.
        least, most: bounds of the result.

    Raises:
        ValueError: target is not above 0, or not 0 <= least <= most.
    """
    if target <= 0:
        raise ValueError(f"target is {target}; allowed: above 0")
    if not 0 <= least <= most:
        raise ValueError(f"least is {least}, most is {most}; allowed: 0 <= least <= most")
    wanted = math.ceil(waiting / target)
    if wanted < now and waiting > (now - 1) * target / 2:
        wanted = now
    return max(least, min(most, wanted))
