"""Fits the weights of fusion, leaving one set out at a time: what the form can do on sets that it never saw.

    python -m bench.fusion_weights --data DIR --cache DIR

For each question the 60 chunks that the present weights put first are candidates; the weights maximise the
likelihood of the relevant ones under a softmax of the linear score (conditional logit). A set counts by its
number of questions to the power 0.3, so that the ten cross-lingual corpora do not decide alone. Columns of
each row: present weights, weights fitted without the row's set. The weights that ship are near the fit, with
less for pairs: they were chosen by hand among some twenty points around it with all development questions in
sight, so that only the second column is free of choice.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]

from bench.corpora import Corpus, LongleafChunker, VectorCache
from bench.retrieval import CUTS, DEPTH, corpora, grade, relevant
from rag import fusion
from rag.embedders import load_embedder
from rag.index.collection import CollectionIndex, IndexedDocument
from rag.index.hits import Hits
from rag.settings import Settings

NAMES = ("z", "z · best share", "share", "rare", "pairs", "names")
SETS = "squad2,squad_it,squad_pt,piaf_fr,cranfield,cacm,multihop,tatqa,xquad,longdocs,financebench,cross"
CANDIDATES = 60
POWER = 0.3
RIDGE = 1e-3

Array = NDArray[np.float64]


@dataclass
class Table:
    """One corpus: evidence [questions, candidates, 6], relevance [questions, candidates]."""

    name: str
    set: str
    corpus: Corpus
    evidence: Array
    relevant: NDArray[np.bool_]


def evidence(hits: Hits) -> Array:
    """Return what the linear score is made of, float64[n, 6]."""
    z = fusion.standardised(hits.dense, hits.background)
    best = float(hits.lexical.max(initial=0.0))
    return np.stack([z, z * best, hits.lexical, hits.rare, hits.pairs, hits.names], axis=1).astype(float)


def shipped() -> Array:
    """Return the weights of `rag.fusion` in the order of `NAMES`; its lower bound of trust is left out."""
    dense = fusion.DENSE_WEIGHT
    return np.array(
        [
            dense,
            -dense * fusion.DOUBT,
            fusion.SHARE_WEIGHT,
            fusion.RARE_WEIGHT,
            fusion.PAIRS_WEIGHT,
            fusion.NAMES_WEIGHT,
        ]
    )


def tabulate(corpus: Corpus, name: str, cache: VectorCache) -> Table:
    """Search for every question of the corpus."""
    index = CollectionIndex()
    ids = np.arange(len(corpus.pieces), dtype=np.int64)
    vectors = cache.passages([piece.embedded for piece in corpus.pieces])
    index.apply([IndexedDocument("all", 1, ids, vectors, [piece.indexed for piece in corpus.pieces])])
    rows, right = [], []
    queries = cache.queries([question.text for question in corpus.questions])
    for question, vector in zip(corpus.questions, queries, strict=True):
        hits = index.search(question.text, vector, DEPTH)
        places = fusion.order(hits, fusion.fuse(hits))[:CANDIDATES]
        rows.append(np.zeros((CANDIDATES, len(NAMES))))
        rows[-1][: len(places)] = evidence(hits)[places]
        right.append(np.zeros(CANDIDATES, dtype=bool))
        found = [relevant(corpus.pieces[int(hits.ids[place])], question) for place in places]
        right[-1][: len(places)] = found
    return Table(corpus.name, name, corpus, np.stack(rows), np.stack(right))


def fit(tables: list[Table]) -> Array:
    """Return the likeliest weights, with a small ridge on the standardised columns."""
    counts: dict[str, int] = {}
    for table in tables:
        counts[table.set] = counts.get(table.set, 0) + int(table.relevant.any(axis=1).sum())
    scale = np.concatenate([table.evidence.reshape(-1, len(NAMES)) for table in tables]).std(axis=0) + 1e-6
    total = sum(count**POWER for count in counts.values())

    def loss(weights: Array) -> tuple[float, Array]:
        value, slope = RIDGE * float(weights @ weights), 2 * RIDGE * weights
        for table in tables:
            known = table.relevant.any(axis=1)
            rows, right = table.evidence[known], table.relevant[known]
            share = counts[table.set] ** (POWER - 1) / total
            scores = rows @ (weights / scale)
            chance = np.exp(scores - scores.max(axis=1, keepdims=True))
            chance /= chance.sum(axis=1, keepdims=True)
            hit = (chance * right).sum(axis=1) + 1e-12
            value -= share * float(np.log(hit).sum())
            pull = chance - chance * right / hit[:, None]
            slope = slope + share * np.einsum("qc,qcf->f", pull, rows) / scale
        return value, slope

    found = minimize(loss, np.zeros(len(NAMES)), jac=True, method="L-BFGS-B")
    weights: Array = found.x / scale
    return weights


def figures(table: Table, weights: Array) -> str:
    """Return the row's metrics as text."""
    order = np.argsort(-(table.evidence @ weights), axis=1, kind="stable")
    found = np.take_along_axis(table.relevant, order, axis=1)
    values = [
        grade(table.corpus, question, row[: CUTS[-1]].tolist())
        for question, row in zip(table.corpus.questions, found, strict=True)
    ]
    return " ".join(f"{value:.3f}" for value in np.mean(values, axis=0)[:3])


def main() -> None:
    """Print the table and the weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation sets")
    parser.add_argument("--cache", type=Path, required=True, help="folder for vectors between runs")
    parser.add_argument("--sets", default=SETS, help="comma-separated names")
    options = parser.parse_args()
    embedder = load_embedder(Settings())
    cache = VectorCache(options.cache, embedder)
    chunker = LongleafChunker(embedder, Settings().chunk_tokens)
    tables = [
        tabulate(corpus, name, cache)
        for name in options.sets.split(",")
        for corpus in corpora(options.data, [name], chunker)
    ]
    print(f"{'set':14} {'present weights':18}  fitted without the set")
    for name in dict.fromkeys(table.set for table in tables):
        others = fit([table for table in tables if table.set != name])
        for table in tables:
            if table.set == name:
                print(f"{table.name:14} {figures(table, shipped()):18}  {figures(table, others)}", flush=True)
    fitted = fit(tables)
    print(f"\n{'weight':16} present  fitted to all, scaled to the same first weight")
    for name, present, found in zip(NAMES, shipped(), fitted * (shipped()[0] / fitted[0]), strict=True):
        print(f"{name:16} {present:7.2f}  {found:7.2f}")


if __name__ == "__main__":
    main()
