"""Whether text in pictures can be read here: Tesseract as a library, with data for the languages wanted."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

INSTALL = (
    "To read pictures, install the extra: pip install 'longleaf[ocr]'. Or run OCR on it and upload that."
)
_FOLDERS = (
    "/usr/share/tesseract-ocr/5/tessdata",
    "/usr/share/tesseract-ocr/4.00/tessdata",
    "/usr/share/tessdata",
    "/usr/local/share/tessdata",
    "/opt/homebrew/share/tessdata",
)


@dataclass(frozen=True, slots=True)
class Ocr:
    """What a parser may use: the folder of Tesseract's data (empty: no OCR, and `remedy` says why).

    `seconds` come on top of a document's time once its first picture is read.
    """

    folder: str = ""
    languages: str = ""
    seconds: float = 0.0
    remedy: str = INSTALL


NO_OCR = Ocr()


def find_ocr(mode: str, languages: str, seconds: float) -> Ocr:
    """`mode` is `auto` or `off`; `languages` are Tesseract's names joined by `+`, as in `eng+deu`."""
    if mode == "off":
        return Ocr(remedy="Reading pictures is switched off (LONGLEAF_OCR). Run OCR on it and upload that.")
    if not _has_library():
        return Ocr()
    wanted = [name for name in languages.replace(",", "+").replace(" ", "").split("+") if name]
    folder = _folder_with(tuple(wanted))
    if folder is None:
        return Ocr(
            remedy=f"Tesseract has no data here for {'+'.join(wanted)}: install it (on Debian tesseract-ocr-"
            f"{wanted[-1] if wanted else 'eng'}), or set LONGLEAF_OCR_LANGUAGES to others."
        )
    return Ocr(str(folder), "+".join(wanted), seconds)


@functools.cache
def _has_library() -> bool:
    return importlib.util.find_spec("tesserocr") is not None


def _folder_with(languages: tuple[str, ...]) -> Path | None:
    """The first folder that holds the data of all languages."""
    own = os.environ.get("TESSDATA_PREFIX")
    for folder in (*([own] if own else []), f"{sys.prefix}/share/tessdata", *_FOLDERS):
        if languages and all((Path(folder) / f"{name}.traineddata").is_file() for name in languages):
            return Path(folder)
    return None
