"""Verdict: what a distilled model was measured to be worth, kept beside its weights, and what follows of it.

The file `longleaf.json` in a model's folder says against which model, on how many held-out documents, and
whether it was better. A folder without it is any other model.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import Unavailable
from rag.evaluation.compare import Change
from rag.refusal import Counted
from rag.writer import UNTRIED, Standing

if TYPE_CHECKING:
    from rag.distil.trial import Measured

FILE = "longleaf.json"
_FORMAT = 2
_NAMED = ("better", "reason", "base", "documents", "questions", "writes")


class WorseModel(Unavailable):
    """The folder's own measurement says that its model is not better than what it was made from."""

    default_code = "model_not_better"


@dataclass(frozen=True)
class Verdict:
    """The outcome of a model's trial.

    Attributes:
        better: it is, by `reason`, which is for people.
        writes: its own sentences say no less than the quotes that are shown where no model writes.
        counted: how its word on whether the quotes say what is asked is counted; None where it is not.
        base: name of the model that it was made from.
        documents, questions: held out, and asked of both.
        changes: each metric of both, with the interval of the difference.
    """

    better: bool
    reason: str
    base: str
    documents: int
    questions: int
    writes: bool = False
    counted: Counted | None = None
    changes: tuple[Change, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The verdict as the file has it."""
        return {"format": _FORMAT, **asdict(self)}


def write(folder: Path, verdict: Verdict) -> None:
    """Put the verdict beside a model's weights. Raises OSError."""
    text = json.dumps(verdict.as_dict(), indent=2, ensure_ascii=False)
    (folder / FILE).write_text(f"{text}\n", "utf-8")


def read(model: Path) -> Verdict | None:
    """The verdict on a model, by its folder; None for a model that no trial is known of.

    Raises:
        WorseModel: the file is there and cannot be read: what it says is not known, so it is not better.
    """
    path = model / FILE
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text("utf-8"))
        changes = tuple(Change(**each) for each in value["changes"])
        named = {name: value[name] for name in _NAMED}
        rule = None if value["counted"] is None else Counted(**value["counted"])
        found = Verdict(changes=changes, counted=rule, **named)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorseModel(
            f"{path} can't be read ({error}): run `longleaf distil` again, or remove the file to use the "
            "model as any other"
        ) from None
    for name in ("better", "writes"):
        if not isinstance(getattr(found, name), bool):
            raise WorseModel(f"{path}: {name!r} is {getattr(found, name)!r}, not true or false")
    return found


def standing(model: Path, *, allow_worse: bool = False) -> Standing:
    """What a model's trial has shown, which decides how it writes; `UNTRIED` for one without a trial.

    Raises:
        WorseModel: its trial says that it is not, and `allow_worse` does not let it pass.
    """
    try:
        found = read(model)
    except WorseModel:
        if allow_worse:
            return UNTRIED
        raise
    if found is None:
        return UNTRIED
    if not found.better and not allow_worse:
        raise WorseModel(
            f"{model} was distilled and found not better than {found.base}: {found.reason} "
            "Use that model, teach on more documents, or set LONGLEAF_ALLOW_WORSE_MODEL=true"
        )
    if not found.better:
        return UNTRIED
    return Standing(better=True, writes=found.writes, counted=found.counted)


def judge(measured: Measured, base: str, *, documents: int, questions: int) -> Verdict:
    """Better is a model whose own sentences hold the gold answer more often, by more than chance, and which
    is not, by more than chance, worse at telling what the documents say from what they do not, nor in the
    answer as a whole, where the best sentence stands for what was written and has no support. It may write
    in place of the quotes where its sentences hold the answer as often as the first quote, and its word on
    what the quotes say is counted where that adds to what is told without."""
    known = {change.metric: change for change in measured.changes}
    own, balanced, whole = known.get("own"), known.get("balanced"), known.get("answer")
    if own is None:
        reason, better = "No held-out question has a gold answer.", False
    elif own.low <= 0:
        reason = f"Its own sentences hold the gold answer no more often than by chance ({_said(own)})."
        better = False
    elif balanced is not None and balanced.high < 0:
        reason = f"It tells less well what the documents do not say ({_said(balanced)})."
        better = False
    elif whole is not None and whole.high < 0:
        reason = f"Its answers as a whole hold the gold answer less often ({_said(whole)})."
        better = False
    else:
        reason, better = f"Its own sentences hold the gold answer more often ({_said(own)}).", True
    beside, counting = measured.beside, measured.counting
    writes = better and beside is not None and beside.difference >= 0
    if better and beside is not None and not writes:
        reason += (
            f" The first quote holds it more often ({beside.first:.3f}, its own sentences "
            f"{beside.second:.3f}): in mode `auto` quotes are shown."
        )
    rule = measured.rule if better else None
    if better and counting is not None and rule is None:
        reason += (
            " Its word on what the quotes say is not counted: what the documents do not say is told no "
            f"better with it ({counting.first:.3f} without, {counting.second:.3f} with it)."
        )
    shown = (*measured.changes, *(each for each in (measured.told, counting, beside) if each is not None))
    return Verdict(better, reason, base, documents, questions, writes, rule, shown)


def _said(change: Change) -> str:
    return (
        f"{change.first:.3f} before, {change.second:.3f} after, "
        f"difference {change.difference:+.3f}, 95 % interval {change.low:+.3f} to {change.high:+.3f}"
    )
