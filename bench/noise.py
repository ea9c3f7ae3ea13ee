"""Is the gold answer still quoted when four of five passages are about something near it?

    python -m bench.noise --data DIR [--limit 50] [--cache DIR]

RGB's question set (Chen et al. 2023, "Benchmarking Large Language Models in Retrieval-Augmented
Generation"): each line has passages that hold the answer and passages found for the same question that do
not. Each question gets a collection for each row: its first right passage alone; up to five right ones; the
first right one with four wrong ones, a noise of 0.8. Questions with fewer wrong ones are left out. Columns:
gold answer in the first citation, and in any; answered.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api.commands.ingest import add_files, find_files, read_all
from bench.answers import CachingEmbedder, answer, library, share
from rag.embedders import load_embedder
from rag.evaluation.metrics import holds
from rag.settings import Settings

NOISE = 4
"""Wrong passages beside one right one."""
CONDITIONS = {"one right": (1, 0), "up to five right": (5, 0), "one right, four wrong": (1, NOISE)}
"""Right and wrong passages of each row."""


def _flat(answers: Any) -> Iterator[str]:
    if isinstance(answers, str):
        yield answers
    else:
        for each in answers:
            yield from _flat(each)


def main() -> None:
    """Print one row for each condition."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=os.environ.get("LONGLEAF_EVAL_DATA"))
    parser.add_argument("--limit", type=int, default=50, help="questions")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/longleaf-bench"))  # noqa: S108
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data DIR or set LONGLEAF_EVAL_DATA")
    lines = (Path(args.data) / "rgb" / "questions.jsonl").read_text("utf-8").splitlines()
    asked = [row for row in map(json.loads, lines) if row["positive"] and len(row["negative"]) >= NOISE]
    asked = asked[: args.limit]
    embedder = CachingEmbedder(load_embedder(Settings()), args.cache)
    with tempfile.TemporaryDirectory(prefix="longleaf-") as name:
        folder = Path(name)
        empty = folder / "empty"
        empty.mkdir()
        found: dict[str, list[tuple[bool, bool, bool]]] = {condition: [] for condition in CONDITIONS}
        with library(empty, embedder) as service:
            for number, (condition, (right, wrong)) in enumerate(CONDITIONS.items()):
                files = []
                for place, row in enumerate(asked):
                    own = folder / f"{number}-{place}"
                    own.mkdir()
                    passages = [*row["positive"][:right], *row["negative"][:wrong]]
                    for index, passage in enumerate(passages):
                        (own / f"passage-{index}.txt").write_text(passage, "utf-8")
                    files += add_files(service, find_files([own])[0], own.name)
                read_all(service, files)
                for place, row in enumerate(asked):
                    reply = answer(service, row["question"], "quotes", f"{number}-{place}")
                    gold = list(_flat(row["answers"]))
                    held = [holds(citation.cited_text, gold) for citation in reply.citations]
                    found[condition].append((any(held[:1]), any(held), reply.answer_status == "answered"))
    print(f"{'passages':<24}{'n':>5}{'first':>8}{'any':>8}{'answered':>10}")
    for condition, rows in found.items():
        cells = [share([row[column] for row in rows]) for column in range(3)]
        print(f"{condition:<24}{len(rows):>5}{cells[0]:>8}{cells[1]:>8}{cells[2]:>10}")


if __name__ == "__main__":
    main()
