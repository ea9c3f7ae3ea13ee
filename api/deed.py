"""What a request turns out to be about, found out while it is worked on: for the audit log and for limits."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Deed:
    """What is known by now. Only ids go in here, never a name or a text.

    Attributes:
        ids: what was read, made or changed.
        workspace_id: where, when that is not the asker's own.
        actor: who, when the request itself makes somebody known.
        tokens: how many models have read and written for it.
    """

    ids: list[str] = field(default_factory=list)
    workspace_id: str | None = None
    actor: str | None = None
    tokens: int = 0

    def of(self, *ids: str) -> None:
        """Note what it is about, each once."""
        self.ids.extend(each for each in dict.fromkeys(ids) if each not in self.ids)
