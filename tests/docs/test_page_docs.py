"""The glossary of the page's translations is what its catalogs say."""

from __future__ import annotations

import json
import re

import pytest
from reading import ROOT, read

WORDS = ROOT / "api" / "page" / "assets" / "words"
LANGUAGES = sorted(path.stem for path in WORDS.glob("*.json"))


def glossary() -> dict[str, list[str]]:
    """The column of each language."""
    text = read("docs/page.md").partition("## Glossary")[2]
    head, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return {language: [row[place] for row in rows[1:]] for place, language in enumerate(head)}


def test_every_language_has_its_column() -> None:
    assert sorted(glossary()) == LANGUAGES
    assert len(glossary()["en"]) >= 15


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_says_what_the_glossary_says(language: str) -> None:
    catalogs = [json.loads(path.read_text(encoding="utf-8")) for path in WORDS.rglob(f"{language}.json")]
    said = "\n".join(text for catalog in catalogs for text in catalog.values()).casefold()
    for term in glossary()[language]:
        assert re.sub(r" \(.*\)", "", term).casefold() in said, (
            f"{term} is in the glossary, and not in {language}.json"
        )
