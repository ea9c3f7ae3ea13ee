"""Cut the documents of demo/documents out of their public-domain sources: `cut_demo_documents.py FOLDER`.

FOLDER holds the four files that demo/documents/README.md names. The same sources give the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pypdf import PdfReader, PdfWriter

TARGET = Path(__file__).resolve().parent.parent / "demo" / "documents"


def between(text: str, first: str, last: str) -> str:
    """The part of `text` from `first` up to, but without, `last`; `ValueError` where one is missing."""
    start = text.index(first)
    return text[start : text.index(last, start)].rstrip() + "\n"


def cut_pages(source: Path, target: Path, first: int, last: int, title: str) -> None:
    """Write pages `first`..`last` (1-based, both included) of a PDF, without its outline."""
    writer = PdfWriter()
    for page in PdfReader(source).pages[first - 1 : last]:
        writer.add_page(page)
    writer.metadata = {"/Title": title}
    writer.compress_identical_objects(remove_unreferenced=True)
    writer.write(target)


def main(folder: Path) -> None:
    """Write the three documents."""
    novel = (folder / "sherlock_holmes.txt").read_text(encoding="utf-8")
    story = between(novel, "ADVENTURE II. THE RED-HEADED LEAGUE", "ADVENTURE III. A CASE OF IDENTITY")
    (TARGET / "the-red-headed-league.txt").write_text(story, encoding="utf-8")

    guideline = (folder / "nist_sp800-63b.md").read_text(encoding="utf-8")
    chapter = between(guideline, '## 5 <a name="AAL_SEC5">', '#### <a name="singlefactorOTP">')
    heading = "# NIST Special Publication 800-63B, Digital Identity Guidelines (sections 5.1.1 to 5.1.3)\n\n"
    (TARGET / "nist-sp800-63b-authenticators.md").write_text(heading + chapter, encoding="utf-8")

    manual = folder / "irm-2.3.59-400p.pdf"
    title = "Internal Revenue Manual 2.3.59, Command Codes BMFOL and BMFOR (pages 1 to 6)"
    cut_pages(manual, TARGET / "irs-manual-2.3.59.pdf", 7, 12, title)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: cut_demo_documents.py FOLDER")
    main(Path(sys.argv[1]))
