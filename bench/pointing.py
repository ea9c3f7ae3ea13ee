"""How well passages are pointed out on the pictures of PDF pages, and how long that takes, in one table.

    python -m bench.pointing --data DIR [--set financebench] [--passages 300] [--seed 1]

Passages are runs of one to three blocks of pages drawn by lot from the set's files: sentences, headings, rows
of tables. Each is looked for as the service does it, in a confined process. What stands in the boxes is then
read by PDFium's `FPDFText_GetBoundedText`, which knows nothing of how they came about: of the passage's
letters so many must be there (found), and of the letters there so many must be the passage's (its own).
"""

from __future__ import annotations

import argparse
import ctypes
import random
import statistics
import time
from collections import Counter
from pathlib import Path

import pypdfium2
import pypdfium2.raw as pdfium

from ingest.limits import ParseLimits
from ingest.page_pictures import PagePicture, draw_page, find_on_page
from ingest.parsers.base import ParsedDocument
from ingest.parsers.placing import Passage, letters_of
from ingest.sandbox import parse_document

LIMITS = ParseLimits(seconds=600)
EDGE = 0.001
"""By so much of the page a box is drawn in: PDFium counts letters that a region only touches."""


def passages(document: ParsedDocument, count: int, lot: random.Random) -> list[tuple[int, int, int]]:
    """Page from 1, start and end on it, of runs of blocks with at least 20 letters."""
    found: list[tuple[int, int, int]] = []
    pages = [each for each in enumerate(document.pages, start=1) if each[1].end > each[1].start]
    for _ in range(count * 5):
        if len(found) == count:
            break
        number, page = lot.choice(pages)
        blocks = [each for each in document.blocks if page.start <= each.start < page.end]
        if not blocks:
            continue
        first = lot.randrange(len(blocks))
        chosen = blocks[first : first + lot.randint(1, 3)]
        start, end = chosen[0].start - page.start, min(chosen[-1].end, page.end) - page.start
        if len(letters_of(document.text[page.start + start : page.start + end]).text) >= 20:
            found.append((number, start, end))
    return found


def bounded(page: pypdfium2.PdfPage, found: PagePicture) -> str:
    """The letters that PDFium finds in the boxes, each box once."""
    text_page = page.get_textpage()
    read = []
    x, y = ctypes.c_double(), ctypes.c_double()
    for box in found.boxes:
        corners = []
        for across, down in (
            (box.left + EDGE, box.top + EDGE * 3),
            (box.right - EDGE, box.bottom - EDGE * 3),
        ):
            pdfium.FPDF_DeviceToPage(
                page.raw, 0, 0, 100_000, 100_000, 0, round(across * 100_000), round(down * 100_000), x, y
            )
            corners.append((x.value, y.value))
        (x1, y1), (x2, y2) = corners
        read.append(text_page.get_text_bounded(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)))
    return letters_of("\n".join(read)).text


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", default="financebench")
    parser.add_argument("--passages", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    lot = random.Random(options.seed)
    files = sorted((options.data / options.set / "docs").glob("*.pdf"))
    each = -(-options.passages // len(files))
    none, found_share, own_share = 0, [], []
    finding, drawing = [], []
    for path in files:
        document = parse_document(path, path.name, LIMITS)
        shown = pypdfium2.PdfDocument(path)
        for number, start, end in passages(document, each, lot):
            page = document.pages[number - 1]
            text = document.text[page.start : page.end]
            began = time.perf_counter()
            found = find_on_page(path, path.name, number, Passage(text, start, end), LIMITS)
            finding.append(time.perf_counter() - began)
            began = time.perf_counter()
            draw_page(path, path.name, number, 1200, LIMITS)
            drawing.append(time.perf_counter() - began)
            wanted = letters_of(text[start:end]).text
            if not found.boxes:
                none += 1
                print(f"  not found: {path.name} page {number}: {text[start:end]!r:.100}")
                continue
            there = bounded(shown[number - 1], found)
            common = sum((Counter(wanted) & Counter(there)).values())
            found_share.append(common / len(wanted))
            own_share.append(common / max(1, len(there)))
            if min(found_share[-1], own_share[-1]) < 0.9:
                print(
                    f"  {path.name} page {number}: found {found_share[-1]:.2f}, own {own_share[-1]:.2f}: "
                    f"{text[start:end]!r:.100}"
                )
    total = len(finding)
    whole = sum(a >= 0.99 and b >= 0.99 for a, b in zip(found_share, own_share, strict=True))
    print("| figure | value |\n|---|---|")
    print(f"| files, passages | {len(files)}, {total} |")
    print(f"| pointed out | {(total - none) / total:.3f} |")
    print(f"| exactly: 99 % of its letters, and 99 % its own | {whole / total:.3f} |")
    print(
        f"| letters found, their share of what is in the boxes (mean) | "
        f"{statistics.mean(found_share):.4f}, {statistics.mean(own_share):.4f} |"
    )
    for name, seconds in (("finding a passage", finding), ("drawing a page 1,200 pixels wide", drawing)):
        typical, worst = statistics.median(seconds) * 1000, sorted(seconds)[int(0.95 * total)] * 1000
        print(f"| {name}, median and 95th percentile | {typical:.0f}, {worst:.0f} ms |")


if __name__ == "__main__":
    main()
