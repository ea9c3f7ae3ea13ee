"""When is it right to refuse? Fits the weights of `rag/refusal.py` and tries them on documents not seen.

    python -m bench.refusal --data DIR --cache DIR [--sets squad2 squad_pt niah xquad piaf_fr squad_it]

Documents are split in two by the hash of their names. Weights and threshold come from the one half, every
figure from the other. Questions without an answer are of two kinds: `trap`, written by annotators against a
paragraph that looks as if it held the answer, and `absent`, questions of the half's other documents, which
are not in the collection. Rule for the threshold: the highest balanced accuracy among those that refuse at
most a tenth of the answerable questions of the fitted half.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from bench.corpora import LongleafChunker, VectorCache
from bench.quotes import CachedEmbedder, Collection, in_part, pack, records
from model import Engine
from rag.embedders import load_embedder
from rag.quoting import Quoter
from rag.refusal import SIGNALS, judge, signals
from rag.sentences import sentence_spans
from rag.settings import Settings

Kind = Literal["answerable", "trap", "absent"]
FALSE_REFUSALS = 0.10
MULTILINGUAL = "xquad"


@dataclass(frozen=True)
class Case:
    """One question: what was found for it, and whether the collection answers it."""

    group: str
    kind: Kind
    part: str
    values: tuple[float, ...]
    enough: bool


def cases(
    args: argparse.Namespace, name: str, chunker: LongleafChunker, embedder: CachedEmbedder
) -> Iterator[Case]:
    """Every question of a set, asked of the half that holds its document and, where it has an answer there,
    of the half that does not."""
    engine = Engine.load("auto")
    quoter = Quoter(embedder, sentence_spans)
    asked = records(args.data / name, "all", args.limit)
    docs = args.data / name / ("haystacks" if name == "niah" else "docs")
    folders = sorted(p for p in docs.iterdir() if p.is_dir()) if name == MULTILINGUAL else [docs]
    for folder in folders:
        paths = {p.relative_to(docs).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
        group = f"{name}-{folder.name}" if name == MULTILINGUAL else name
        for part in ("fit", "check"):
            held = {document: path for document, path in paths.items() if in_part(document, part)}
            if not held:
                continue
            pieces = [piece for document, path in held.items() for piece in chunker(path, document)]
            texts = {document: path.read_bytes().decode("utf-8") for document, path in held.items()}
            collection = Collection(pieces, texts, embedder)
            for record in asked:
                document = record["doc"] if isinstance(record["doc"], str) else record["doc"][0]
                if document not in paths or (document not in held and not _absent(name, record)):
                    continue
                kind: Kind = (
                    "absent" if document not in held else "answerable" if record["answerable"] else "trap"
                )
                found = collection.search(record["question"], args.top_k)
                segments = pack(found, engine, args.budget).segments
                evidence = quoter.evidence(record["question"], segments, found)
                yield Case(group, kind, part, signals(evidence), judge(evidence).enough)


def _absent(name: str, record: dict[str, Any]) -> bool:
    """Whether a question of a document that is not there has no answer: niah hides the same needles in all
    haystacks."""
    return bool(record["answerable"]) and name != "niah"


def fit(sample: Sequence[Case]) -> tuple[NDArray[np.float64], float, float]:
    """Weights by signal, bias so that 0.5 is the threshold, and the threshold's balanced accuracy.

    Answerable and unanswerable questions weigh the same in sum, and so do the groups of each.
    """
    values = np.array([case.values for case in sample])
    wanted = np.array([case.kind == "answerable" for case in sample])
    sizes: dict[tuple[str, str], int] = {}
    for case in sample:
        sizes[case.group, case.kind] = sizes.get((case.group, case.kind), 0) + 1
    weight = np.array([1 / sizes[case.group, case.kind] for case in sample])
    for side in (wanted, ~wanted):
        weight[side] /= weight[side].sum()
    centre, spread = values.mean(0), values.std(0)
    model = LogisticRegression(C=100.0).fit((values - centre) / spread, wanted, weight * len(sample))
    weights = model.coef_[0] / spread
    scores = values @ weights
    best, cut = 0.0, float(scores.min())
    for threshold in np.unique(scores):
        passed = scores >= threshold
        refused = 1 - float(passed[wanted].mean())
        right = (float((weight * passed)[wanted].sum()) + float((weight * ~passed)[~wanted].sum())) / 2
        if refused <= FALSE_REFUSALS and right > best:
            best, cut = right, float(threshold)
    return weights, cut, best


def report(sample: Sequence[Case], passed: Sequence[bool]) -> None:
    """One row a group: shares of what was refused, and balanced accuracy: the mean of the answerable
    questions' share that was answered and the others' that was refused."""
    head = ("answerable", "refused", "trap", "refused", "absent", "refused", "balanced")
    print(f"{'group':<10}" + "".join(f"{name:>11}" for name in head))
    refused = [not ok for ok in passed]
    for group in [*dict.fromkeys(case.group for case in sample), "all"]:
        mine = [(c.kind, r) for c, r in zip(sample, refused, strict=True) if group in (c.group, "all")]
        row = f"{group:<10}"
        for kind in ("answerable", "trap", "absent"):
            shares = [r for k, r in mine if k == kind]
            row += f"{len(shares):>11}" + (f"{statistics.fmean(shares):>11.3f}" if shares else f"{'':>11}")
        right = statistics.fmean(not r for k, r in mine if k == "answerable")
        caught = statistics.fmean(r for k, r in mine if k != "answerable")
        print(row + f"{(right + caught) / 2:>11.3f}")


def main() -> None:
    """Fit on one half, report the other; the weights in use are reported beside."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=os.environ.get("LONGLEAF_EVAL_DATA"))
    parser.add_argument(
        "--sets", nargs="+", default=["squad2", "squad_pt", "niah", "piaf_fr", "squad_it", "xquad"]
    )
    parser.add_argument("--top-k", type=int, default=20)
    parser.add_argument("--budget", type=int, default=8192)
    parser.add_argument("--limit", type=int, default=120, help="questions of each language")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/longleaf-bench"))  # noqa: S108
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data DIR or set LONGLEAF_EVAL_DATA")
    args.data = Path(args.data)
    settings = Settings()
    embedder = load_embedder(settings)
    chunker = LongleafChunker(embedder, settings.chunk_tokens)
    cached = CachedEmbedder(VectorCache(args.cache, embedder))
    sample = [case for name in args.sets for case in cases(args, name, chunker, cached)]
    fitted = [case for case in sample if case.part == "fit"]
    checked = [case for case in sample if case.part == "check"]
    weights, cut, accuracy = fit(fitted)
    print("signals ", SIGNALS)
    centre = np.mean([case.values for case in fitted if case.kind == "answerable"], axis=0)
    print("centre  ", np.round(centre, 4).tolist())
    print("weights ", np.round(weights, 4).tolist(), "bias", round(float(centre @ weights) - cut, 4))
    print(f"balanced accuracy on the fitted half {accuracy:.3f}")
    print("\nthe other half, by these weights")
    report(checked, [float(np.dot(case.values, weights)) >= cut for case in checked])
    print("\nthe other half, by the weights in use")
    report(checked, [case.enough for case in checked])


if __name__ == "__main__":
    main()
