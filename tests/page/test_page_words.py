"""Every word of the page comes from a catalog, and every catalog says all of it."""

from __future__ import annotations

import re
import unicodedata
from typing import get_args

import pytest
from page_literals import words_in_markup, words_in_script
from page_words import ASSETS, LANGUAGES, MODULES, OTHERS, PAGE, catalog, choices, names, parsed, texts

from ingest.errors import PARSE_CODES
from rag.finding import Why
from rag.passages import Reason

ENGLISH = catalog("en")
KEY = re.compile(r"[\"'`]([a-z]+(?:\.[a-z_]+)+)[\"'`]")
OPEN_KEY = re.compile(r"`([a-z]+\.)\$\{[^}]+\}`")
PROBLEMS_OF_THE_PAGE = {"page", "unexpected", "unreachable", "interrupted"}
# Words that are the same as in English, at least in one of their forms: everywhere, and in one language.
SAME = {"kind.pdf", "kind.word", "kind.markdown"}
SAME_IN = {
    "de": {"about.name", "admin.hooks", "collections.name_short", "kind.text", "operations.version"},
    "es": {"admin.hooks", "feedback.no", "unit.tokens"},
    "fr": {
        *("about.versions", "collections.label", "documents.heading", "ledger.passage", "place.page"),
        *("place.pages", "reader.page", "talks.heading", "unit.documents", "unit.pages", "unit.passages"),
        *("unit.questions", "admin.heading", "menu.admin", "admin.hooks", "compare.question"),
        *("operations.documents", "operations.index_collections", "operations.passages"),
        *("operations.service", "operations.version"),
    },
    "hi": {"ask.enter"},
    "it": {"feedback.no", "kind.file", "unit.tokens"},
    "pt": {"admin.hooks", "ask.enter", "unit.tokens"},
    "th": {"ask.enter"},
}
SCRIPTS = {"hi": r"[\u0900-\u097f]", "th": r"[\u0e00-\u0e7f]"}


def sources() -> str:
    return "\n".join(path.read_text() for path in (*MODULES, PAGE / "index.html"))


def has_words(message: str) -> bool:
    """Whether the message is more than values and marks between them."""
    return any(re.search(r"[^\W\d_]", re.sub(r"\{[\w#]+\}", "", text)) for text in texts(message))


def used(text: str) -> tuple[set[str], set[str]]:
    """Keys that a text names whole, and beginnings of those that it completes with a code."""
    groups = {key.split(".")[0] for key in ENGLISH}
    whole = {key for key in KEY.findall(text) if key.split(".")[0] in groups and "/" not in key}
    open_keys = set(OPEN_KEY.findall(text))
    for group in re.findall(r"coded\(\"(\w+)\"", text):
        open_keys.add(f"{group}.")
    return whole, open_keys


def test_the_languages_that_the_page_offers_have_a_catalog_each() -> None:
    listed = re.search(r"LANGUAGES = \[(.*?)\]", (ASSETS / "speech.js").read_text())
    assert listed
    assert sorted(re.findall(r"\"(\w+)\"", listed[1])) == LANGUAGES


def test_every_key_that_is_used_has_words_and_every_key_is_used() -> None:
    whole, begun = used(sources())
    beginnings = tuple(begun)
    stems = {key for key in whole if not key.endswith("_") and any(k.startswith(f"{key}_") for k in ENGLISH)}
    assert len(whole) > 150
    assert {key for key in whole if key not in ENGLISH} <= stems
    spoken = {
        key
        for key in ENGLISH
        if key in whole or key.startswith(beginnings) or key.rpartition("_")[0] in stems - set(ENGLISH)
    }
    assert sorted(set(ENGLISH) - spoken) == []


def test_codes_of_the_service_have_words() -> None:
    for group, codes in (("problem", PARSE_CODES), ("reason", get_args(Reason)), ("why", get_args(Why))):
        assert {f"{group}.{code}" for code in codes} <= set(ENGLISH)
    assert {f"reason.{code}" for code in get_args(Reason)} == {k for k in ENGLISH if k.startswith("reason.")}


def test_problems_with_words_are_codes_of_the_service() -> None:
    table = (PAGE.parents[1] / "docs" / "api.md").read_text()
    documented = set(re.findall(r"(?m)^\| `(\w+)` \| \d{3} \|", table))
    known = documented | PARSE_CODES | PROBLEMS_OF_THE_PAGE
    spoken = {key.removeprefix("problem.") for key in ENGLISH if key.startswith("problem.")}
    assert len(spoken) > 30
    assert sorted(spoken - known) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_messages_are_of_the_syntax_that_the_page_reads(language: str) -> None:
    for key, message in catalog(language).items():
        assert parsed(message), key
        assert message == message.strip(), key
        assert all(text == text.strip() and "  " not in text for text in texts(message)), key


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_says_all_that_english_says(language: str) -> None:
    words = catalog(language)
    assert list(words) == list(ENGLISH)
    for key, message in words.items():
        assert names(message) == names(ENGLISH[key]), key
        assert {choice.name for choice in choices(ENGLISH[key])} <= {c.name for c in choices(message)}, key


@pytest.mark.parametrize("language", OTHERS)
def test_nothing_is_left_in_english(language: str) -> None:
    same = {
        key
        for key, message in catalog(language).items()
        if has_words(message) and set(texts(message)) & set(texts(ENGLISH[key]))
    }
    assert same == SAME | SAME_IN[language]


@pytest.mark.parametrize("language", SCRIPTS)
def test_a_script_of_its_own_is_used(language: str) -> None:
    for key, message in catalog(language).items():
        written = all(re.search(SCRIPTS[language], text) for text in texts(message))
        assert written or not has_words(message) or key in SAME | SAME_IN[language], key


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_letter_is_of_another_script(language: str) -> None:
    """Latin letters stand in every language, in names of things; no other letters are beside its own."""
    allowed = f"[A-Za-z\u00c0-\u017f]|{SCRIPTS.get(language, '(?!)')}"
    for key, message in catalog(language).items():
        letters = [each for each in message if unicodedata.category(each)[0] in "LM"]
        strange = [letter for letter in letters if not re.match(allowed, letter)]
        assert strange == [], key


BROKEN = [
    "{n, plural, one {# page}}",
    "{n, plural, one {# page other {# pages}}",
    "a {b",
    "a }",
    "# pages",
    "{a b}",
]


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_message_is_found(message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parsed(message)


def test_no_word_stands_in_the_pages_files() -> None:
    found = {path.name: words_in_script(path.read_text()) for path in MODULES}
    found["index.html"] = words_in_markup((PAGE / "index.html").read_text())
    assert {name: words for name, words in found.items() if words} == {}
    for path in ASSETS.glob("*.css"):
        contents = re.findall(r"content:\s*\"([^\"]*)\"", path.read_text())
        assert not re.search(r"[^\W\d_]", "".join(contents)), path.name


PLANTED = [
    'h("p", {}, "files")',
    'h("p", { class: "fine" }, shared ? "shared" : null)',
    'h("button", { "aria-label": "close", type: "button" })',
    "h('button', { title: \"more\" })",
    'element.textContent = done ? "ready" : "busy";',
    'setText(byId("x"), many ? `${n} pages` : "page")',
    "announce(`${name} deleted`)",
    'button.ariaLabel = "open"',
    'const WHY = { question: "the question" };',
    'const STATES = ["Ready", "Failed"];',
    'case "queued": return "Waiting its turn";',
    "parts.push(`searching ${seconds(time)}`);",
    'new Problem("unreachable", "gone")',
    'list.append("nothing")',
    'this.#say(`${list(`all ${deeper("x")}`)}`)',
    'field.placeholder = "name";',
    'iconButton("close", "dismiss", () => leave())',
]


@pytest.mark.parametrize("code", PLANTED)
def test_a_planted_word_is_found_in_a_script(code: str) -> None:
    before, after = (
        'import { h } from "./dom.js";\n// A comment: "the words".\n',
        'h("p", { class: "doc" }, "");',
    )
    assert words_in_script(f"{before}function f() {{ {code} }}\n{after}")


@pytest.mark.parametrize(
    "code",
    [
        'h("p", { class: "doc is-ready", onclick: () => open("x") }, t("documents.heading"))',
        'form.append("file", file)',
        'if (event.key === "Escape" && doc.status === "ready") setText(line, t(`state.${doc.status}`));',
        'fetch(`documents/${id}/text?start=${start}`, { method: "POST" })',
        'document.querySelector("#docs .doc").className = `doc is-${state}`;',
        'text.split(/\\s?\\[("the words"|\\?)\\]/)',
        '// says "Nothing found"',
    ],
)
def test_code_is_not_taken_for_words(code: str) -> None:
    assert words_in_script(code) == []


@pytest.mark.parametrize(
    "markup", ["<p>files</p>", '<input placeholder="name">', '<button title="More"></button>']
)
def test_a_planted_word_is_found_in_markup(markup: str) -> None:
    assert words_in_markup(f"<main>{markup}</main>")
