"""Stages: which layers of a model each of several groups of GPUs holds, and what their waiting costs."""

from __future__ import annotations

from model.errors import ParameterError


def cut_layers(layers: int, stages: int) -> list[tuple[int, int]]:
    """First and one past the last layer of each stage; their numbers differ by one at most.

    Where layers are left over, the stages in the middle have one more, then the first: the last one has the
    head as well.

    Raises:
        ParameterError: more stages than layers.
    """
    if not 1 <= stages <= layers:
        raise ParameterError(f"stages is {stages}; allowed: 1 to {layers}, the layers of the model")
    least, over = divmod(layers, stages)
    more = set([*range(1, stages - 1), 0][:over])
    cuts, first = [], 0
    for stage in range(stages):
        last = first + least + (stage in more)
        cuts.append((first, last))
        first = last
    return cuts


def idle_share(stages: int, passes: int) -> float:
    """The share of its time that a stage waits, while so many passes of equal length go through all.

    A pass that needs the results of the one before (a token that is written) is alone: `passes` is 1.
    """
    return (stages - 1) / (passes + stages - 1)
