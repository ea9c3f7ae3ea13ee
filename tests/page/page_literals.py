"""Words that stand in the page's HTML and JavaScript themselves, where no translation reaches them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser

# No words: the project's name, the name of a collection, a sample of a key, what JSON says; and classes that
# the scan can't tell from a sentence.
NO_WORDS = {"Longleaf", "default", "llf_…", "true", "ledger-part colour-…"}
SAID_BY = {"aria-label", "title", "placeholder", "alt", "content", "label", "summary"}
LETTERS = re.compile(r"[^\W\d_]")


class _Markup(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta" or dict(attrs).get("name") == "description":
            self.found += [
                value for name, value in attrs if name in SAID_BY and value and LETTERS.search(value)
            ]

    def handle_data(self, data: str) -> None:
        if LETTERS.search(data):
            self.found.append(data.strip())


def words_in_markup(text: str) -> list[str]:
    """Words of an HTML text that a person would see or hear."""
    markup = _Markup()
    markup.feed(text)
    return [word for word in markup.found if word not in NO_WORDS]


def words_in_script(text: str) -> list[str]:
    """Literals of a JavaScript text that a person would see or hear.

    That is: what has letters and stands where text is set, and anywhere a literal that reads like a sentence
    or begins like one. What a template puts in is shown as `…`.
    """
    scan = _Scan(text)
    scan.code(0)
    return [word for word in scan.found if word not in NO_WORDS]


# Calls whose arguments are shown or said, and how many arguments stand before those.
SHOWN = {"h": 2, "setText": 1, "iconButton": 1, "dialogOf": 1, "secret": 1, "Problem": 1}
SHOWN |= dict.fromkeys(("field", "checkbox", "twice"), 0)
SHOWN |= dict.fromkeys(("announce", "say", "complain", "fail", "bdi", "Text", "createTextNode", "Option"), 0)
SHOWN |= dict.fromkeys(
    ("append", "prepend", "replaceChildren", "button", "block", "alert", "confirm", "Error"), 0
)
# Properties whose values are shown or said, and those whose values never are.
PROPERTIES = {*SAID_BY, "textContent", "innerText", "nodeValue", "ariaLabel", "ariaDescription"}
PROPERTIES |= {"aria-description", "aria-valuetext", "aria-roledescription"}
CLASSES = {"class", "className"}
# Calls that look something up, and things whose methods show nothing.
SELECTORS = {"querySelector", "querySelectorAll", "closest", "matches", "matchMedia"}
SILENT = {"form", "console", "classList"}
# Names of keys, events, methods and fields, which begin like a sentence.
CODE = re.compile(
    r"AbortError|Arrow(Up|Down|Left|Right)|Enter|Escape|Tab|Home|End|Event|Files|[A-Z]+|Content-Type|Accept"
)
SENTENCE = re.compile(
    r"[A-Z][a-z]+('[a-z]+)?[ ,.:…]*(\0|$|[ ,.:][^.#\[]*)"  # one that begins, a single word too
    r"|.*[a-z]{2,}[,.:]? [a-z]{2,}.*"  # words in a row
    r"|\W*[a-z]{2,} \0.*",  # a word before what a template puts in
    re.DOTALL,
)
TOKEN = re.compile(
    r"(?P<skipped>//[^\n]*|/\*.*?\*/|\?\.(?=\()"
    r"|(?<=[=(,:!&|?{;])\s*/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n\[])+/\w*)"
    r"|(?P<text>\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
    r"|(?P<name>#?[\w$]+)|(?P<mark>=>|\?\?|\?\.|[!=]==?|[^\s])",
    re.DOTALL,
)


@dataclass
class _Open:
    """A bracket that is open: what is called by it and of what, at which argument and property it stands."""

    bracket: str
    call: str = ""
    of: str = ""
    place: int = 0
    key: str = ""


class _Scan:
    """Walks through code with the brackets that are open and the last three tokens in mind."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.found: list[str] = []
        self.open = [_Open("")]
        self.last = ["", "", ""]

    def code(self, at: int) -> int:
        """Reads to the end, or past the brace that ends a place of a template; returns where that is."""
        depth = len(self.open)
        while at < len(self.text):
            if self.text[at] == "`":
                at = self._template(at + 1)
                self.last = [*self.last[1:], "`"]
                continue
            token = TOKEN.match(self.text, at)
            at = token.end() if token else at + 1
            if token is None or token["skipped"]:
                continue
            if token["mark"] == "}" and len(self.open) == depth and self.open[-1].bracket == "${":
                return at
            if token["mark"]:
                self._mark(token["mark"])
            else:
                self._word(token, re.match(r"\s*:", self.text[at:]) is not None)
            self.last = [*self.last[1:], token[0]]
        return at

    def _word(self, token: re.Match[str], before_colon: bool) -> None:
        word = token[0].strip("\"'")
        if before_colon and self.open[-1].bracket == "{" and self.last[-1] in {"{", ","}:
            self.open[-1].key = word
        elif token["text"] and self.last[-1] not in {"===", "!=="}:
            self._judge(word)

    def _mark(self, mark: str) -> None:
        if mark in "([{":
            called = self.last[-1] if mark == "(" and re.fullmatch(r"#?[\w$]+", self.last[-1]) else ""
            self.open.append(_Open(mark, called.lstrip("#"), self.last[0] if self.last[1] == "." else ""))
        elif mark in ")]}" and len(self.open) > 1:
            self.open.pop()
        elif mark in ",;":
            self.open[-1].place += mark == ","
            self.open[-1].key = ""
        elif mark == "=" and self.last[1] == "." and self.last[2] in PROPERTIES | CLASSES:
            self.open[-1].key = self.last[2]

    def _template(self, at: int) -> int:
        """Reads a template from after its opening mark; returns where it ends."""
        fixed = ""
        while self.text[at] != "`":
            if self.text.startswith("${", at):
                fixed += "\0"
                self.open.append(_Open("${"))
                at = self.code(at + 2)
                self.open.pop()
            else:
                fixed += self.text[at]
                at += 2 if self.text[at] == "\\" else 1
        self._judge(fixed)
        return at + 1

    def _judge(self, literal: str) -> None:
        """Adds the literal to what was found if it is to be shown, as far as the brackets around it tell."""
        around = [
            each
            for each in self.open
            if each.bracket not in {"[", "${"} and (each.call or each.bracket != "(" or each.key)
        ]
        near = around[-1]
        shown = near.key in PROPERTIES or (
            near.bracket == "(" and near.call in SHOWN and near.place >= SHOWN[near.call]
        )
        silent = near.key in CLASSES or near.call in SELECTORS or near.of in SILENT
        reads = SENTENCE.fullmatch(literal) and not CODE.fullmatch(literal)
        if LETTERS.search(literal.replace("\0", "")) and not silent and (shown or reads):
            self.found.append(literal.replace("\0", "…"))
