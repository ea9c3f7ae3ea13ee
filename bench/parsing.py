"""Pages a second and text of the service's PDF parser beside pypdf alone, in one table.

    python -m bench.parsing --data DIR [--rounds 3] [--set financebench]

`DIR/financebench` holds the files and questions with gold pages. Each parser reads each file in a fresh
process, in turn with the other; the rate is the median over rounds. Ours is that of the service: a confined
process for every file, its start and the way of the text to the parent included. pypdf gets no sandbox.

The text is measured by the gold evidence of the questions, on the very page that was given: the share of its
words found there; the share of its numbers; and how much of its running text is found in order (the longest
common run of words, as a share of the evidence: what a quote needs). A word is letters and digits, small.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from difflib import SequenceMatcher
from pathlib import Path

from ingest.limits import ParseLimits
from ingest.parsers.legibility import legibility
from ingest.sandbox import parse_document

_WORD = re.compile(r"\w+(?:[.,]\d+)*")


def ours(path: Path) -> list[str]:
    """The pages as the service reads them."""
    document = parse_document(path, path.name, ParseLimits(seconds=600))
    return [document.text[page.start : page.end] for page in document.pages]


def pypdf_alone(path: Path) -> list[str]:
    """The pages as pypdf's `extract_text` gives them."""
    import pypdf  # noqa: PLC0415

    return [page.extract_text() for page in pypdf.PdfReader(path).pages]


PARSERS: dict[str, Callable[[Path], list[str]]] = {"Longleaf": ours, "pypdf": pypdf_alone}


def timed(name: str, path: Path) -> tuple[float, list[str]]:
    """Seconds and pages of one parser on one file; called in a fresh process."""
    began = time.perf_counter()
    pages = PARSERS[name](path)
    return time.perf_counter() - began, pages


def words(text: str) -> list[str]:
    """The words of a text, small, without what glyphs and line ends do to them."""
    return _WORD.findall(text.replace("\xa0", " ").casefold())


def recall(wanted: list[str], there: list[str]) -> float:
    """The share of the wanted words that is there, each as often as it is wanted."""
    if not wanted:
        return 1.0
    common = Counter(wanted) & Counter(there)
    return common.total() / len(wanted)


def in_order(wanted: list[str], there: list[str]) -> float:
    """The longest run of wanted words that stands there unbroken, as a share of them."""
    match = SequenceMatcher(None, wanted, there, autojunk=False).find_longest_match()
    return match.size / len(wanted) if wanted else 1.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the set")
    parser.add_argument("--set", default="financebench", help="folder of PDFs with questions.jsonl")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    folder = options.data / options.set
    paths = sorted((folder / "docs").glob("*.pdf"))
    lines = (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    evidence = {
        (span["doc"], span["page"], span["text"])
        for line in lines
        for span in json.loads(line)["evidence"]
        if "page" in span
    }
    seconds: dict[str, list[float]] = {name: [] for name in PARSERS}
    pages: dict[str, dict[str, list[str]]] = {name: {} for name in PARSERS}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as processes:
        for _ in range(options.rounds):
            for name in PARSERS:
                total = 0.0
                for path in paths:
                    taken, pages[name][path.name] = processes.submit(timed, name, path).result()
                    total += taken
                seconds[name].append(total)
    count = sum(map(len, pages["pypdf"].values()))
    print(f"{platform.machine()}, Python {platform.python_version()}, {len(paths)} files, {count} pages, "
          f"{len(evidence)} spans of evidence, {options.rounds} rounds")  # fmt: skip
    rates = {name: count / statistics.median(taken) for name, taken in seconds.items()}
    rows: list[tuple[str, Callable[[str], str]]] = [
        ("pages a second", lambda name: f"{rates[name]:.1f}"),
        ("  beside pypdf", lambda name: f"{rates[name] / rates['pypdf']:.1f} x"),
        ("characters", lambda name: f"{sum(len(page) for file in pages[name].values() for page in file):,}"),
        ("legibility (0 to 1)", lambda name: f"{_legible(pages[name]):.4f}"),
        ("words of the evidence on its page", lambda name: f"{_quality(pages[name], evidence, recall):.4f}"),
        ("its numbers", lambda name: f"{_quality(pages[name], evidence, _numbers):.4f}"),
        ("longest run of it in order", lambda name: f"{_quality(pages[name], evidence, in_order):.4f}"),
    ]
    print(f"{'':36}" + "".join(f"{name:>12}" for name in PARSERS))
    for label, show in rows:
        print(f"{label:36}" + "".join(f"{show(name):>12}" for name in PARSERS))


def _numbers(wanted: list[str], there: list[str]) -> float:
    return recall([word for word in wanted if word[:1].isdigit()], there)


def _legible(files: dict[str, list[str]]) -> float:
    return statistics.mean(legibility(page) for file in files.values() for page in file if page.strip())


def _quality(
    files: dict[str, list[str]],
    evidence: set[tuple[str, int, str]],
    score: Callable[[list[str], list[str]], float],
) -> float:
    return statistics.mean(score(words(text), words(files[doc][page - 1])) for doc, page, text in evidence)


if __name__ == "__main__":
    main()
