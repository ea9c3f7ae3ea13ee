"""Constants: what one piece of work takes on the machine where it was measured, kept as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.scale.pace import CpuPace


@dataclass(frozen=True)
class Constants:
    """Seconds are of CPU, but for `hop`.

    Attributes:
        machine: where it was measured.
        engine: of the bundled model on one core.
        embed: of a question's embedding.
        search, search_chunk: of a search beside its embedding, and of each chunk of the collection.
        answer: of the rest of a question's way: packing, choosing and checking quotes, keeping the answer.
        statements, commits, postgres: of one question, and PostgreSQL's own seconds for them.
        document_statements, document_postgres, document: of taking in and reading one small note.
        chunk_statements, chunk_postgres, chunk: of each further chunk.
        hop: of one call of an actor and back, on the wall, at rest.
        route, route_engine: of the router for one request, and of each engine that it looks at.
    """

    machine: str
    engine: CpuPace
    embed: float
    search: float
    search_chunk: float
    answer: float
    statements: float
    commits: float
    postgres: float
    document_statements: float
    document_postgres: float
    document: float
    chunk_statements: float
    chunk_postgres: float
    chunk: float
    hop: float
    route: float
    route_engine: float

    def save(self, path: Path) -> None:
        """Write them."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> Constants:
        """Read what `save` wrote."""
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return cls(**{**values, "engine": CpuPace(**values["engine"])})
