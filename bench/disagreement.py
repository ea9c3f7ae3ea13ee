"""Are contradicting sources both quoted, and said to disagree? And are agreeing ones left in peace?

    python -m bench.disagreement --data DIR [--cache DIR] [--limit 50]

Each question of the set `rgb` is a collection of its own, a document a passage. `versions`: one passage with
the answer, the same with another answer put in its place, and the passages without it. `others`: the false
answer in the other passages. `agreeing`: no false answer at all, so every alarm is a false one.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from bench.corpora import Piece, VectorCache
from bench.quotes import CachedEmbedder, Collection, pack
from model import Engine
from rag.citations import Citation
from rag.disagreement import disagreements
from rag.embedders import load_embedder
from rag.evaluation.metrics import holds
from rag.quoting import Quoter
from rag.sentences import sentence_spans
from rag.settings import Settings


def kinds(record: dict[str, Any]) -> dict[str, list[str]]:
    """The passages of each kind of collection."""
    right, wrong, neither = record["positive"], record["positive_wrong"], record["negative"]
    return {
        "versions": [right[0], wrong[0], *neither],
        "others": [right[0], *wrong[1:], *neither],
        "agreeing": [*right, *neither],
    }


def main() -> None:
    """One row a kind: questions, alarms, and questions with both answers among the quotes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=os.environ.get("LONGLEAF_EVAL_DATA"))
    parser.add_argument("--cache", type=Path, default=Path("/tmp/longleaf-bench"))  # noqa: S108
    parser.add_argument("--limit", type=int, default=50)
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data DIR or set LONGLEAF_EVAL_DATA")
    embedder = load_embedder(Settings())
    cached = CachedEmbedder(VectorCache(args.cache, embedder))
    quoter, engine = Quoter(cached, sentence_spans), Engine.load("auto")
    lines = (Path(args.data) / "rgb" / "questions.jsonl").open(encoding="utf-8")
    records = [json.loads(line) for line in lines][: args.limit]
    print(f"{'kind':<10}{'n':>6}{'alarms':>8}{'both':>8}{'right':>8}{'quotes':>8}")
    for kind in ("versions", "others", "agreeing"):
        alarms, both, right, quotes = [], [], [], []
        for record in records:
            passages = kinds(record)[kind]
            texts = {f"doc_{number}": text for number, text in enumerate(passages)}
            pieces = [Piece(name, 0, len(text), None, text, text) for name, text in texts.items()]
            candidates = Collection(pieces, texts, cached).search(record["question"], 20)
            segments = pack(candidates, engine, 8192).segments
            found = quoter.evidence(record["question"], segments, candidates).quotes
            cited = [
                Citation(i, q.document_id, "", "", None, q.start, q.end, q.text, q.chunk_id, q.score)
                for i, q in enumerate(found, start=1)
            ]
            alarms.append(bool(disagreements(record["question"], cited)))
            golds = [
                g for answer in record["answers"] for g in (answer if isinstance(answer, list) else [answer])
            ]
            has_right = any(holds(quote.text, golds) for quote in found)
            right.append(has_right)
            both.append(has_right and any(holds(quote.text, [record["false_answer"]]) for quote in found))
            quotes.append(len(found))
        n = len(records)
        shares = "".join(f"{sum(each) / n:>8.3f}" for each in (alarms, both, right, quotes))
        print(f"{kind:<10}{n:>6}{shares}", flush=True)


if __name__ == "__main__":
    main()
