"""File names and titles made fit to be shown; none is ever used as a path."""

from __future__ import annotations

import re
import unicodedata

FILENAME_LIMIT = 255
TITLE_LIMIT = 500

# Joiners are letters' business in many scripts and in emoji; every other format character can deceive.
_JOINERS = {"\u200c", "\u200d"}
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,10}\Z")


def display_text(value: str, limit: int) -> str:
    """One line without control, bidirectional-override and other invisible characters, cut to `limit`."""
    kept = (
        " " if unicodedata.category(character) in {"Zl", "Zp", "Cc"} else character
        for character in unicodedata.normalize("NFC", value)
        if character in _JOINERS or unicodedata.category(character) not in {"Cf", "Cs", "Co", "Cn"}
    )
    return " ".join("".join(kept).split())[:limit].strip()


def display_filename(value: str) -> str:
    """The last part of what the client called the file; `document` when nothing of it can be shown.

    A long name loses characters before its extension.
    """
    last = re.split(r"[/\\]", value.replace("\0", ""))[-1]
    name = display_text(last, 10 * FILENAME_LIMIT)
    if name.strip(".") == "":
        return "document"
    if len(name) > FILENAME_LIMIT:
        found = _EXTENSION.search(name)
        extension = found.group() if found else ""
        name = name[: FILENAME_LIMIT - len(extension)].rstrip() + extension
    return name


def stem(filename: str) -> str:
    """The shown file name without its extension."""
    return _EXTENSION.sub("", filename) or filename


def choose_title(given: object, parsed: str | None, filename: str) -> str:
    """What the owner calls it (`metadata.title`), else what it calls itself, else the file name."""
    for candidate in (given, parsed):
        if isinstance(candidate, str):
            title = display_text(candidate, TITLE_LIMIT)
            if title:
                return title
    return stem(filename)
