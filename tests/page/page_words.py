"""The page's catalogs as the tests read them: messages in ICU's syntax, as far as the page knows it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "api" / "page"
ASSETS = PAGE / "assets"
LANGUAGES = sorted(path.stem for path in (ASSETS / "words").glob("*.json"))
OTHERS = [language for language in LANGUAGES if language != "en"]
MODULES = sorted(ASSETS.glob("*.js"))


def catalog(language: str) -> dict[str, str]:
    """The messages of a language by their keys, those of views too that are fetched when they are opened.

    Raises ValueError for a key that is there twice.
    """

    def unique(pairs: list[tuple[str, str]]) -> dict[str, str]:
        keys = [key for key, _ in pairs]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise ValueError(f"{language}.json has {sorted(twice)} twice")
        return dict(pairs)

    found: list[tuple[str, str]] = []
    for path in (f"{language}.json", f"views/{language}.json"):
        text = (ASSETS / "words" / path).read_text(encoding="utf-8")
        found += json.loads(text, object_pairs_hook=list)
    return unique(found)


@dataclass(frozen=True)
class Choice:
    """A place of a message where the plural form is chosen by the number `name`."""

    name: str
    forms: dict[str, list[str | Choice]]


SPECIAL = re.compile(r"\{(?P<slot>\w+)\}|\{(?P<choice>\w+), plural,|(?P<number>#)|(?P<wrong>[{}])")


def parsed(message: str) -> list[str | Choice]:
    """The pieces of a message: text and `{name}` as they stand, `{#}` for the number of the choice around it.

    Raises ValueError for what is not of the syntax that the page reads.
    """
    pieces, end = _pieces(message, 0, None)
    if end != len(message):
        raise ValueError(f"a brace too many at {end}: {message}")
    return pieces


def _pieces(message: str, at: int, counted: str | None) -> tuple[list[str | Choice], int]:
    pieces: list[str | Choice] = []
    while (found := SPECIAL.search(message, at)) and found[0] != "}":
        pieces.append(message[at : found.start()])
        at = found.end()
        if found["wrong"] or (found["number"] and counted is None):
            raise ValueError(f"`{found[0]}` at {found.start()} opens nothing: {message}")
        if not found["choice"]:
            pieces.append("{#}" if found["number"] else found[0])
            continue
        forms: dict[str, list[str | Choice]] = {}
        while form := re.compile(r"\s*(\w+) \{").match(message, at):
            if form[1] in forms:
                raise ValueError(f"the form {form[1]} is there twice: {message}")
            forms[form[1]], end = _pieces(message, form.end(), found["choice"])
            at = end + 1
        if message[at : at + 1] != "}" or "other" not in forms:
            raise ValueError(f"the forms of {found['choice']} lack `other` or a brace: {message}")
        at += 1
        pieces.append(Choice(found["choice"], forms))
    end = found.start() if found else len(message)
    if counted is not None and found is None:
        raise ValueError(f"a brace too few: {message}")
    return [*pieces, message[at:end]], end


def texts(message: str) -> Iterator[str]:
    """What the message says, once for each combination of forms."""

    def spread(pieces: list[str | Choice]) -> list[str]:
        said = [""]
        for piece in pieces:
            ways = [piece] if isinstance(piece, str) else [w for f in piece.forms.values() for w in spread(f)]
            said = [before + way for before in said for way in ways]
        return said

    yield from spread(parsed(message))


def choices(message: str) -> Iterator[Choice]:
    """Every choice in the message."""

    def walk(pieces: list[str | Choice]) -> Iterator[Choice]:
        for piece in pieces:
            if isinstance(piece, Choice):
                yield piece
                for form in piece.forms.values():
                    yield from walk(form)

    yield from walk(parsed(message))


def names(message: str) -> set[str]:
    """Names of the values that the message takes."""
    return set(re.findall(r"\{(\w+)\}", " ".join(texts(message)))) | {c.name for c in choices(message)}


def said(language: str, key: str, **values: str | int) -> str:
    """A message, filled. Numbers are from 1 to 999: of those, each language says `one` of 1 alone."""

    def fill(pieces: list[str | Choice], number: str | int) -> str:
        text = ""
        for piece in pieces:
            if isinstance(piece, str):
                slot = re.fullmatch(r"\{(.*)\}", piece)
                text += str(number if piece == "{#}" else values[slot[1]]) if slot else piece
            else:
                given = values[piece.name]
                text += fill(piece.forms.get("one" if given == 1 else "other", piece.forms["other"]), given)
        return text

    return fill(parsed(catalog(language)[key]), "")
