"""A worker's name, with a lock that tells others of its data folder that it is alive."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from ingest.locks import create_locked, holder_is_dead
from rag.ids import new_id
from rag.settings import Settings


class Presence:
    """A name that is alive from entering to leaving. Raises OSError."""

    def __init__(self, settings: Settings, prefix: str = "wrk") -> None:
        """`prefix` begins the name; `wrk` begins every one of them."""
        self._owner = new_id(prefix)
        self._path = workers_folder(settings) / self._owner
        self._descriptor = -1

    def __enter__(self) -> str:
        self._descriptor = create_locked(self._path)
        return self._owner

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error a job may be leased still: the file stays, and `recover` sees it as a dead one's.
        if error is None:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def workers_folder(settings: Settings) -> Path:
    """Where the names of those lie that work on this data folder."""
    return settings.data_dir / "workers"


def known_dead(settings: Settings) -> Callable[[str], bool]:
    """Whether the owner of that name is known to be dead."""
    folder = workers_folder(settings)
    return lambda owner: holder_is_dead(folder / Path(owner).name)
