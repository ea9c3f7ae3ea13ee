"""Trains a reader: an adapter on the bundled encoder that sees whether a passage says what is asked.

    python -m bench.reader --data DIR --out FILE --part fit [--epochs 6] [--seconds 2400]

`--part fit` and `--part check` are the halves of `bench.refusal`, by article, in every set: an adapter of
one half is judged on the other (`python -m bench.refusal --readers FIT CHECK`). `--part none --more FILE …`
learns from other questions alone, and `--start FILE` goes on from there. Prints the loss with wall
and CPU time and, on questions of the other half, the area under the curve of traps against answerable ones,
by margin, and the share of answers that are pointed at. On one core with AMX: 0.9 s a step of 15 examples.
Set MALLOC_MMAP_MAX_=0 and MALLOC_TRIM_THRESHOLD_=100000000000: a third of the time is otherwise spent on
fresh pages.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional

from bench.reader_data import Epochs, Example, window
from bench.reader_model import Adapter, TrainedReader
from bench.reader_sets import load, more, of_part
from rag.embedders import load_embedder
from rag.embedders.unigram import UnigramTokenizer
from rag.settings import Settings
from rag.span_reader import likeliest, pair

BATCH_TOKENS = 1536
WARM_UP = 60
"""Steps until the rate is at its height; a tenth of all where there are few."""
CHECKED = 1000
"""Questions of the other half that are read at the end."""


@dataclass(frozen=True, eq=False)
class Row:
    """One example in token ids; `starts` and `ends` are places in the row, of the first token for none."""

    kind: str
    ids: list[int]
    first: int
    starts: list[int]
    ends: list[int]

    @property
    def stated(self) -> bool:
        """Whether the answer is there."""
        return self.starts != [0]


def row_of(example: Example, tokenizer: UnigramTokenizer) -> Row:
    """The row of an example; an answer that was cut off is none."""
    ids, first = pair(tokenizer, example.question, example.passage)
    places = tokenizer.spans(example.passage).tolist()
    starts, ends = [], []
    for a, b in example.spans:
        inside = [
            at
            for at, (start, end) in enumerate(places)
            if start < b and a < end and example.passage[start:end].strip()
        ]
        if inside and first + inside[-1] < len(ids) - 1:
            starts.append(first + inside[0])
            ends.append(first + inside[-1])
    return Row(example.kind, ids, first, starts or [0], ends or [0])


def batches(rows: Sequence[Row], chance: random.Random) -> Iterator[list[Row]]:
    """Rows of like length together, batches in random order."""
    found: list[list[Row]] = [[]]
    size = 0
    for row in sorted(rows, key=lambda row: len(row.ids) + chance.random() * 24):
        if found[-1] and size + len(row.ids) > BATCH_TOKENS:
            found.append([])
            size = 0
        found[-1].append(row)
        size += len(row.ids)
    chance.shuffle(found)
    yield from found


def loss_of(scores: Sequence[Tensor], rows: Sequence[Row]) -> Tensor:
    """Cross-entropy of start and end, each over no answer and the passage's tokens, and of the whole."""
    losses = []
    for each, row in zip(scores, rows, strict=True):
        places = torch.tensor([0, *range(row.first, len(row.ids) - 1)])
        for column, gold in ((0, row.starts), (1, row.ends)):
            losses.append(torch.logsumexp(each[places, column], 0) - torch.logsumexp(each[gold, column], 0))
        wanted = torch.tensor(float(row.stated))
        losses.append(functional.binary_cross_entropy_with_logits(each[0, 2], wanted))
    return torch.stack(losses).sum() / len(rows)


def train(reader: TrainedReader, epochs: Sequence[Sequence[Row]], args: argparse.Namespace) -> None:
    """Train until the epochs or `args.seconds` are over, and save."""
    chance = random.Random(args.seed)
    adapter = reader.adapter
    optimiser = torch.optim.AdamW(
        [
            {"params": list(adapter.low.parameters()), "weight_decay": 0.01},
            {"params": [adapter.rows, adapter.bias], "weight_decay": 0.0},
        ]
    )
    order = [batch for rows in epochs for batch in batches(rows, chance)]
    rising = min(WARM_UP, max(1, len(order) // 10))
    began, seen = time.perf_counter(), []
    for step, batch in enumerate(order, start=1):
        spent = time.perf_counter() - began
        progress = max(step / len(order), spent / args.seconds)
        if progress > 1:
            break
        pace = min(1.0, step / rising) * max(0.02, 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimiser.param_groups:
            group["lr"] = args.rate * pace
        loss = loss_of(reader.scores([row.ids for row in batch]), batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(adapter.parameters(), 1.0)
        optimiser.step()
        seen.append(float(loss.detach()))
        if step % 20 == 0:
            used = time.process_time()
            print(
                f"{step}/{len(order)} loss {np.mean(seen[-20:]):.3f} {spent:.0f} s, CPU {used:.0f} s",
                flush=True,
            )
        if step % 200 == 0:
            adapter.save(args.out)
    adapter.save(args.out)


def check(reader: TrainedReader, rows: Sequence[Row]) -> None:
    """Area under the curve and pointing, a line a set."""
    order = sorted(range(len(rows)), key=lambda at: len(rows[at].ids))
    found: dict[int, tuple[float, bool]] = {}
    for at in range(0, len(order), 16):
        some = order[at : at + 16]
        with torch.no_grad():
            scores = reader.scores([rows[place].ids for place in some])
        for place, each in zip(some, scores, strict=True):
            row = rows[place]
            read = likeliest(each, row.first)
            start, end = read.place
            hit = any(start <= b and a <= end for a, b in zip(row.starts, row.ends, strict=True))
            found[place] = (read.margin, hit)
    for kind in dict.fromkeys(row.kind for row in rows):
        mine = [(found[at], row.stated) for at, row in enumerate(rows) if row.kind == kind]
        line = f"{kind:<9}{len(mine):>6}"
        if len({stated for _, stated in mine}) == 2:
            area = roc_auc_score([y for _, y in mine], [margin for (margin, _), _ in mine])
            line += f"  area {area:.3f}"
        print(f"{line}  pointed {np.mean([hit for (_, hit), stated in mine if stated]):.3f}", flush=True)


def main() -> None:
    """Draw the examples, train on one half, check on the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=os.environ.get("LONGLEAF_EVAL_DATA"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", choices=["fit", "check", "all", "none"], default="fit")
    parser.add_argument("--more", type=Path, nargs="*", default=[], help="files in the form of SQuAD 2.0")
    parser.add_argument("--start", type=Path, help="an adapter that is trained on")
    parser.add_argument("--epochs", type=int, default=6, help="each with examples drawn afresh")
    parser.add_argument("--seconds", type=float, default=2400, help="the rate has fallen to its end by then")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--size", type=float, default=0.6, help="amount of made-up and translated examples")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data DIR or set LONGLEAF_EVAL_DATA")
    torch.manual_seed(args.seed)
    embedder: Any = load_embedder(Settings(_env_file=None))
    encoder, tokenizer = embedder.bundled
    reader = TrainedReader(encoder, Adapter(encoder))
    if args.start:
        reader.adapter.load_state_dict({name: part.float() for name, part in load_file(args.start).items()})
    asked = load(Path(args.data))
    further = [each for path in args.more for each in more(path, asked)]
    learned = further if args.part == "none" else of_part([*asked, *further], args.part)
    drawing = Epochs(learned, args.seed)
    epochs = [[row_of(each, tokenizer) for each in drawing.draw(args.size)] for _ in range(args.epochs)]
    rows = epochs[0]
    length, share = np.mean([len(row.ids) for row in rows]), np.mean([row.stated for row in rows])
    print(f"{len(rows)} examples, {length:.0f} tokens each, {share:.2f} stated")
    print(dict(Counter(row.kind for row in rows)), flush=True)
    train(reader, epochs, args)
    other = {"fit": "check", "check": "fit", "all": "all", "none": "all"}[args.part]
    drawn = random.Random(args.seed)
    held = [each for each in of_part(asked, other) if each.kind in ("squad2", "squad_pt", "xquad")]
    held = drawn.sample(held, min(CHECKED, len(held)))
    check(reader, [row_of(window(each, drawn), tokenizer) for each in held])


if __name__ == "__main__":
    main()
