"""Are receipts right? What the quote that holds the answer is worth, beside one that does not hold it.

    python -m bench.receipts --data DIR [--sets squad2 xquad] [--languages en de] [--limit 40]

For each answerable question the sentence that holds the gold answer is cited together with a sentence of
another paragraph of the same document (xquad: of the same language) that does not. Columns: questions; median
drop, in nats, without the holding and without the other; share of questions in which the holding one is worth
more; tokens read and seconds for both receipts. `answer` scores the gold answer, `question` the question.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from pathlib import Path
from typing import Any

from bench.quotes import records
from model import Engine
from rag.citations import Citation
from rag.evaluation.metrics import holds
from rag.framing import frame_for
from rag.receipts import Receipts
from rag.sentences import sentence_spans

SEED = 6


def cited(number: int, text: str) -> Citation:
    """A citation of a text that stands in a document of its own."""
    return Citation(number, f"doc_{number}", "Document", "d.txt", None, 0, len(text), text, number, 0.5)


def pair(record: dict[str, Any], text: str, rng: random.Random) -> tuple[str, str] | None:
    """A sentence that holds the gold answer, where the evidence stands, and one that does not."""
    spans = [text[start:end].strip() for start, end in sentence_spans(text)]
    spot = record["evidence"]
    spot = spot[0] if isinstance(spot, list) else spot
    if spot is None or "start" not in spot:
        return None
    holding = next(
        (
            text[start:end].strip()
            for start, end in sentence_spans(text)
            if start <= spot["start"] and spot["end"] <= end
        ),
        None,
    )
    others = [each for each in spans if 40 <= len(each) <= 400 and not holds(each, record["answers"])]
    if holding is None or not others or not holds(holding, record["answers"]) or len(holding) > 400:
        return None
    return holding, rng.choice(others)


def main() -> None:
    """Print a row for each set and language, of both kinds of receipt."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=os.environ.get("LONGLEAF_EVAL_DATA"))
    parser.add_argument("--sets", nargs="+", default=["squad2", "xquad"])
    parser.add_argument("--languages", nargs="+", default=["en"])
    parser.add_argument("--limit", type=int, default=40, help="questions of each language")
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data DIR or set LONGLEAF_EVAL_DATA")
    engine = Engine.load("auto")
    print(f"{'group':<14}{'of':<10}{'n':>5}{'holding':>9}{'other':>8}{'right':>8}{'tokens':>8}{'s':>7}")
    for name in args.sets:
        for language in args.languages:
            rng = random.Random(SEED)
            docs = Path(args.data) / name / "docs"
            rows = [
                (record, found)
                for record in records(Path(args.data) / name, "check", 10**6)
                if record["answerable"] and record["language"] == language
                for found in [pair(record, (docs / record["doc"]).read_text("utf-8"), rng)]
                if found is not None
            ][: args.limit]
            for of in ("answer", "question") if rows else ():
                drops, tokens, seconds = [], [], []
                for number, (record, (holding, other)) in enumerate(rows):
                    texts = (holding, other) if number % 2 else (other, holding)
                    work = Receipts(
                        engine,
                        frame_for(texts),
                        record["question"],
                        [cited(place, text) for place, text in enumerate(texts, start=1)],
                    )
                    began = time.perf_counter()
                    found = [
                        *(work.of_answer(record["answers"][0]) if of == "answer" else work.of_question())
                    ]
                    seconds.append(time.perf_counter() - began)
                    tokens.append(work.computed)
                    first, second = (each.drop for each in found)
                    drops.append((first, second) if number % 2 else (second, first))
                print(
                    f"{name + ' ' + language:<14}{of:<10}{len(rows):>5}"
                    f"{statistics.median(mine for mine, _ in drops):>9.2f}"
                    f"{statistics.median(its for _, its in drops):>8.2f}"
                    f"{statistics.fmean(mine > its for mine, its in drops):>8.3f}"
                    f"{statistics.median(tokens):>8.0f}{statistics.median(seconds):>7.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
