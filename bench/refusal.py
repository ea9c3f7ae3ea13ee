"""When is it right to refuse? Fits the weights of `rag/refusal.py` and tries them on documents not seen.

    python -m bench.refusal --data DIR --cache DIR [--sets squad2 squad_pt niah xquad …] [--readers FIT CHECK]

Documents are split in two by the hash of their names. Every figure of one half comes from weights and
threshold that were fitted on the other. Questions without an answer are of two kinds: `trap`, written by
annotators against a paragraph that looks as if it held the answer, and `absent`, questions of the half's
other documents, which are not in the collection. Rule for the threshold: the highest balanced accuracy of
answerable questions and traps among those that refuse at most a quarter of the answerable questions that it
was fitted to; the second table is by the weights in use. `said`: gold answers in the best sentence of those
answered. With `--readers`, adapters of `bench.reader` trained on each half, what that of the other half reads
in the quotes takes the place of what is negated.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

from bench.corpora import LongleafChunker, VectorCache
from bench.quotes import CachedEmbedder, Collection, in_part, pack, records
from model import Engine
from rag.embedders import load_embedder
from rag.evaluation.metrics import holds
from rag.quoting import Quoter
from rag.refusal import ALONE, READ, READ_SIGNALS, SIGNALS, signals
from rag.sentences import sentence_spans
from rag.settings import Settings
from rag.span_reader import MOST, SpanReader

Kind = Literal["answerable", "trap", "absent"]
FALSE_REFUSALS = 0.25
SHARES = {"answerable": 1.0, "trap": 0.7, "absent": 0.3}
"""What the kinds of questions weigh in the fit; within a kind, groups weigh by the root of their size."""
ABSENT_OF = 3
"""One answerable question in so many is asked of the half without its document, too."""
MULTILINGUAL = "xquad"


@dataclass(frozen=True)
class Case:
    """One question: what was found for it, and whether the collection answers it."""

    group: str
    kind: Kind
    part: str
    values: tuple[float, ...]
    coverage: float
    quoted: bool
    said: bool


def cases(
    args: argparse.Namespace, name: str, chunker: LongleafChunker, embedder: CachedEmbedder
) -> Iterator[Case]:
    """Every question of a set, asked of the half that holds its document and, where it has an answer there,
    of the half that does not."""
    engine = Engine.load("auto")
    readers = opened(args.readers)
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
            quoter = Quoter(embedder, sentence_spans, readers.get(part))
            offered = 0
            for record in asked:
                document = record["doc"] if isinstance(record["doc"], str) else record["doc"][0]
                if document not in paths or (document not in held and not _absent(name, record)):
                    continue
                offered += document not in held
                if document not in held and offered % ABSENT_OF:
                    continue
                kind: Kind = (
                    "absent" if document not in held else "answerable" if record["answerable"] else "trap"
                )
                found = collection.search(record["question"], args.top_k)
                segments = pack(found, engine, args.budget).segments
                evidence = quoter.evidence(record["question"], segments, found)
                texts_found = [quote.text for quote in evidence.quotes]
                found_in = any(holds(text, record["answers"]) for text in texts_found)
                sentence = evidence.quotes[0].sentence if evidence.quotes else ""
                if readers and evidence.margin is None:  # no quotes, nothing to read
                    evidence = replace(evidence, margin=-MOST)
                values = signals(evidence)
                said = holds(sentence, record["answers"])
                yield Case(group, kind, part, values, evidence.coverage, found_in, said)


def opened(paths: Sequence[Path] | None) -> dict[str, SpanReader]:
    """For each half the reader that was trained on the other."""
    if not paths:
        return {}
    embedder: Any = load_embedder(Settings())
    encoder, tokenizer = embedder.bundled
    fit, check = (SpanReader.load(encoder, tokenizer, path) for path in paths)
    return {"check": fit, "fit": check}


def _absent(name: str, record: dict[str, Any]) -> bool:
    """Whether a question of a document that is not there has no answer: niah hides the same needles in all
    haystacks."""
    return bool(record["answerable"]) and name != "niah"


@dataclass(frozen=True)
class Fitted:
    """Weights by signal, and the sum from which a question is answered."""

    weights: NDArray[np.float64]
    cut: float

    def passes(self, case: Case) -> bool:
        """Whether a question is answered."""
        return float(np.dot(case.values, self.weights)) >= self.cut


def fit(sample: Sequence[Case]) -> Fitted:
    """A logistic regression on the signals, and the threshold by the rule."""
    values = np.array([case.values for case in sample])
    wanted = np.array([case.kind == "answerable" for case in sample])
    sizes = Counter((case.group, case.kind) for case in sample)
    weight = np.array([sizes[case.group, case.kind] ** -0.5 for case in sample])
    for kind, amount in SHARES.items():
        mine = np.array([case.kind == kind for case in sample])
        weight[mine] *= amount / max(float(weight[mine].sum()), 1e-12)
    centre, spread = values.mean(0), values.std(0) + 1e-9
    model = LogisticRegression(C=0.05).fit((values - centre) / spread, wanted, weight * len(sample) / 2)
    weights = model.coef_[0] / spread
    scores = values @ weights
    traps = np.array([case.kind == "trap" for case in sample])
    asked = np.isin([case.group for case in sample], [case.group for case in sample if case.kind == "trap"])
    best, cut = 0.0, float(scores.min())
    for threshold in np.unique(scores):
        passed = scores >= threshold
        right = (float(passed[wanted & asked].mean()) + float((~passed)[traps].mean())) / 2
        if 1 - float(passed[wanted].mean()) <= FALSE_REFUSALS and right > best:
            best, cut = right, float(threshold)
    return Fitted(weights, cut)


def report(sample: Sequence[Case], passed: Sequence[bool], scores: Sequence[float]) -> None:
    """One row a group: shares of what was refused; balanced accuracy against traps, with its interval, and
    against both kinds; area under the curve against traps; gold answers in the quotes of those answered,
    of all, and in the best sentence of those answered."""
    head = (
        "answerable",
        "refused",
        "trap",
        "refused",
        "absent",
        "refused",
        "balanced",
        "traps",
        "low",
        "high",
    )
    print(f"{'group':<10}" + "".join(f"{name:>11}" for name in (*head, "area", "answered", "quoted", "said")))
    every = list(zip(sample, passed, scores, strict=True))
    trapped = {case.group for case in sample if case.kind == "trap"}
    for group in [*dict.fromkeys(case.group for case in sample), "traps'", "all"]:
        mine = [
            each
            for each in every
            if group in (each[0].group, "all") or (group == "traps'" and each[0].group in trapped)
        ]
        row = f"{group:<10}"
        ok = {kind: [passed for case, passed, _ in mine if case.kind == kind] for kind in SHARES}
        for kind in SHARES:
            row += f"{len(ok[kind]):>11}" + _share([not each for each in ok[kind]])
        answered, others = np.array(ok["answerable"]), np.array(ok["trap"] + ok["absent"])
        row += f"{(answered.mean() + (~others).mean()) / 2:>11.3f}" if len(others) else f"{'':>11}"
        if ok["trap"]:
            traps = np.array(ok["trap"])
            draws = np.random.default_rng(0)
            sums = [
                draws.choice(answered, len(answered)).mean() + 1 - draws.choice(traps, len(traps)).mean()
                for _ in range(2000)
            ]
            low, high = np.quantile(sums, [0.025, 0.975]) / 2
            judged = [(case.kind == "answerable", score) for case, _, score in mine if case.kind != "absent"]
            area = roc_auc_score([y for y, _ in judged], [score for _, score in judged])
            right = (answered.mean() + 1 - traps.mean()) / 2
            row += f"{right:>11.3f}{low:>11.3f}{high:>11.3f}{area:>11.3f}"
        else:
            row += f"{'':>44}"
        there = [(case, passed) for case, passed, _ in mine if case.kind == "answerable"]
        for shares in (
            [case.quoted and passed for case, passed in there],
            [case.quoted for case, _ in there],
            [case.said and passed for case, passed in there],
        ):
            row += _share(shares)
        print(row)


def _share(values: Sequence[bool]) -> str:
    return f"{statistics.fmean(values):>11.3f}" if values else f"{'':>11}"


def across(sample: Sequence[Case]) -> tuple[list[bool], list[float]]:
    """What is answered in each half by what was fitted on the other, and the distance from the threshold."""
    fitted = {part: fit([case for case in sample if case.part != part]) for part in ("fit", "check")}
    scores = [
        float(np.dot(case.values, fitted[case.part].weights)) - fitted[case.part].cut for case in sample
    ]
    return [score >= 0 for score in scores], scores


def in_use(sample: Sequence[Case]) -> tuple[list[bool], list[float]]:
    """The same by the weights and the threshold of the service, fitted to both halves."""
    scores = []
    for case in sample:
        scale = READ if len(case.values) == len(READ.weights) else ALONE
        scores.append(scale.score(case.values) - scale.threshold)
    return [score >= 0 for score in scores], scores


def main() -> None:
    """Two halves, each judged by the other; then the weights of both, which are the ones to use."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=os.environ.get("LONGLEAF_EVAL_DATA"))
    parser.add_argument("--sets", nargs="+", default=["squad2", "squad_pt", "niah", "xquad"])
    parser.add_argument("--top-k", type=int, default=20)
    parser.add_argument("--budget", type=int, default=8192)
    parser.add_argument("--limit", type=int, default=120, help="questions of each language")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/longleaf-bench"))  # noqa: S108
    parser.add_argument("--readers", nargs=2, type=Path, metavar=("FIT", "CHECK"), help="of bench.reader")
    parser.add_argument("--cases", type=Path, help="JSON lines that keep the signals of each question")
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data DIR or set LONGLEAF_EVAL_DATA")
    args.data = Path(args.data)
    if args.cases is not None and args.cases.exists():
        sample = [Case(**json.loads(line)) for line in args.cases.open(encoding="utf-8")]
    else:
        settings = Settings()
        embedder = load_embedder(settings)
        chunker = LongleafChunker(embedder, settings.chunk_tokens)
        cached = CachedEmbedder(VectorCache(args.cache, embedder))
        sample = []
        for name in args.sets:
            sample += cases(args, name, chunker, cached)
            print(f"{name}: {len(sample)} questions", flush=True)
            if args.cases is not None:
                args.cases.with_suffix(".part").write_text(
                    "".join(json.dumps(asdict(case)) + "\n" for case in sample)
                )
        if args.cases is not None:
            args.cases.with_suffix(".part").rename(args.cases)
    report(sample, *across(sample))
    print("the weights in use")
    report(sample, *in_use(sample))
    fitted = fit(sample)
    centre = np.mean([case.values for case in sample if case.kind == "answerable"], axis=0)
    print("signals ", READ_SIGNALS if len(centre) == len(READ_SIGNALS) else SIGNALS)
    print("centre  ", np.round(centre, 4).tolist())
    bias = round(float(centre @ fitted.weights) - fitted.cut, 4)
    print("weights ", np.round(fitted.weights, 4).tolist(), "bias", bias)


if __name__ == "__main__":
    main()
