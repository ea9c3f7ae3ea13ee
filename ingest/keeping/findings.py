"""What a check can find wrong: its name, where, and what would put it right."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Cure = Literal["vectors", "reread", "counters", "owner", "job", "withdraw", "log", "snapshot", "mark"]
"""`vectors`: embed the chunks again. `reread`: read the original as a new generation, while the old one
answers. `counters`, `owner`: set what can be counted or looked up. `job`: queue the document. `withdraw`:
take an answer's words. `log`: note the change that is missing. `snapshot`: remove it, it is built anew.
`mark`: claim the folder of originals."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `subject` is the id or path of what it is wrong with; `cure` is None where the
    only remedy is a backup, or the file from its owner."""

    code: str
    subject: str
    detail: str
    cure: Cure | None = None
    workspace_id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The problem as `--json` shows it."""
        shown = asdict(self)
        del shown["workspace_id"]
        return shown
