"""What becomes of awkward and hostile files: outcome, time and peak memory of each, on the service's own way.

    python -m bench.hostile --data DIR [--seconds 30] [--only NAME]

`DIR/hostile/docs` holds the files, `DIR/hostile/expect.jsonl` what should come of each: `strict` lines allow
one outcome only. The way is that of the service: type told by content, parser in the sandbox, chunks. The
program ends with status 1 unless all strict files come out right and none takes longer than the limit.
Peak memory is that of the parsing child, never below that of the process which starts it (40 MiB), and of
this process at the end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.costs import largest_reader, watch_readers
from ingest.chunking import chunk_document
from ingest.errors import ParseError
from ingest.limits import ParseLimits
from ingest.ocr import find_ocr
from ingest.parsers.base import ParsedDocument
from ingest.sandbox import parse_document
from rag.settings import MIB, Settings

GRACE = 2.0
"""Seconds that starting and ending a child may add to its limit."""


@dataclass(frozen=True)
class Outcome:
    """What came of one file; `peak` in bytes."""

    document: ParsedDocument | None
    code: str
    detail: str
    seconds: float
    peak: int


def measured(path: Path, limits: ParseLimits) -> Outcome:
    """Parse in the sandbox from a small process of its own, so that the child's peak memory is its own."""
    document, code, detail = None, "", ""
    watch_readers()
    began = time.perf_counter()
    try:
        document = parse_document(path, path.name, limits)
    except ParseError as error:
        code, detail = error.code, error.detail
    seconds = time.perf_counter() - began
    return Outcome(document, code, detail, seconds, largest_reader())


def printable(name: str) -> str:
    """A file's name without characters that turn the line around."""
    return "".join(char if char.isprintable() else "?" for char in name)[:44]


def main() -> int:
    """Print the table; the exit status says whether all is as it must be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds `hostile`")
    parser.add_argument("--seconds", type=float, default=30.0, help="limit of time for one file")
    parser.add_argument("--only", default="", help="only files whose name holds this")
    options = parser.parse_args()
    from rag.embedders import load_embedder  # noqa: PLC0415  # the measuring processes need no torch

    settings = Settings()
    embedder = load_embedder(settings)
    ocr = find_ocr(settings.ocr, settings.ocr_languages, 120.0)
    limits = ParseLimits(seconds=options.seconds, memory_bytes=settings.parse_memory_bytes, ocr=ocr)
    folder = options.data / "hostile"
    expectations = [json.loads(line) for line in (folder / "expect.jsonl").open(encoding="utf-8")]
    print(
        f"{platform.machine()}, Python {platform.python_version()}, limits {limits.seconds:g} s and "
        f"{limits.memory_bytes // MIB} MiB a file, OCR {ocr.languages or 'not installed'} (120 s more)"
    )
    print(f"{'file':44} {'expected':9} {'got':17} {'seconds':>7} {'MiB':>5} {'chunks':>6}")
    strict = right = loose = loose_right = late = 0
    seconds: list[float] = []
    peaks: list[int] = []
    with ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as processes:
        for expected in expectations:
            if options.only not in expected["file"]:
                continue
            outcome = processes.submit(measured, folder / "docs" / expected["file"], limits).result()
            began = time.perf_counter()
            chunks = 0
            if outcome.document is not None:
                chunks = len(chunk_document(outcome.document, embedder.token_spans, settings.chunk_tokens))
            taken = outcome.seconds + time.perf_counter() - began
            same = ("failed" if outcome.code else "ready") == expected["expected"]
            late += outcome.seconds > limits.seconds + limits.ocr.seconds + GRACE
            if expected["strict"]:
                strict, right = strict + 1, right + same
            else:
                loose, loose_right = loose + 1, loose_right + same
            mark = "" if same else " <- WRONG" if expected["strict"] else " <- allowed"
            print(
                f"{printable(expected['file']):44} {expected['expected']:9} {outcome.code or 'ready':17} "
                f"{taken:7.2f} {outcome.peak // MIB:5} {chunks:6}{mark}",
                flush=True,
            )
            seconds.append(taken)
            peaks.append(outcome.peak // MIB)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(
        f"seconds: median {statistics.median(seconds):.2f}, longest {max(seconds):.2f}, "
        f"over the limit: {late}; peak of a parser {max(peaks)} MiB, of this process {own} MiB"
    )
    print(f"others as expected {loose_right}/{loose}")
    print(f"strict ones right {right}/{strict}")
    return 0 if right == strict and not late else 1


if __name__ == "__main__":
    sys.exit(main())
