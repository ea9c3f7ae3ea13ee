"""The page in each of its languages, in the real browser: which is chosen, a story by its names, overflow."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_support import DESKTOP, PHONE, Opened, Watch, file
from page_words import LANGUAGES, OTHERS, catalog, choices, said
from playwright.sync_api import Browser, Page, Route, expect

pytestmark = pytest.mark.browser

TEXT = "The gopher tortoise digs burrows that are up to twelve metres long.\n\nIt eats wiregrass."
QUESTION = "How long are the burrows of the gopher tortoise?"
REGIONS = {
    "de": "de-CH",
    "fr": "fr-FR",
    "it": "it-IT",
    "pt": "pt-BR",
    "hi": "hi-IN",
    "es": "es-MX",
    "th": "th-TH",
}


def faults(page: Page) -> list[str]:
    violations = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [f"{each['id']}: {node['html'][:160]}" for each in violations for node in each["nodes"]]


def too_wide(page: Page) -> list[str]:
    """What reaches beyond the window, or scrolls sideways inside it."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((each) => {
          if (!each.checkVisibility() || each.closest("svg, option, .unseen, .skip")) return false;
          const box = each.getBoundingClientRect();
          const scrolls = each.scrollWidth > each.clientWidth + 1
            && getComputedStyle(each).overflowX !== "visible"
            && !each.matches("input, textarea, select, progress");
          return box.left < -1 || box.right > innerWidth + 1 || scrolls;
        }).map((each) => `${each.tagName}#${each.id}.${each.className}: ${each.textContent.slice(0, 60)}`)"""
    )
    assert page.evaluate("document.documentElement.scrollWidth <= Math.min(innerWidth, screen.width)")
    hint = "(field) => field.value === '' && field.scrollHeight > field.clientHeight + 1"
    assert not page.locator("#question").evaluate(hint)  # its placeholder is on one line
    return found


@pytest.mark.parametrize("language", OTHERS)
def test_a_story_by_the_names_of_the_language(open_page: Opened, collection: str, language: str) -> None:
    def name(key: str, **values: str | int) -> str:
        return said(language, key, **values)

    page = open_page(collection=collection, locale=REGIONS[language])
    expect(page.locator("html")).to_have_attribute("lang", language)
    expect(page.locator("#ask-scope")).to_have_text(name("ask.scope_empty"))
    assert faults(page) == []
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=name("uploads.files"), exact=True).click()
    chooser.value.set_files([file("burrows.txt", TEXT)])  # type: ignore[list-item]
    kind, passages = name("kind.text"), name("unit.passages", n=1)
    expect(page.locator("#docs .doc-state")).to_have_text(f"{kind} · {passages}", timeout=90_000)
    expect(page.locator("#ask-scope")).to_have_text(name("ask.scope", n=1, collection=collection))

    page.get_by_role("textbox", name=name("ask.label")).fill(QUESTION)
    page.get_by_role("button", name=name("ask.go"), exact=True).click()
    expect(page.get_by_role("button", name=name("turn.copy"))).to_be_visible(timeout=120_000)
    page.get_by_text(name("ledger.heading"), exact=True).click()
    assert faults(page) == []
    page.get_by_role("button", name=name("turn.open", id=1, title="burrows")).click()
    reader = page.get_by_role("dialog", name="burrows")
    expect(reader.locator("mark")).to_contain_text("twelve metres")
    expect(reader.locator("#reader-where")).to_have_text(name("reader.whole"))
    assert faults(page) == []

    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert too_wide(page) == []
    reader.get_by_role("button", name=name("reader.close")).click()
    assert too_wide(page) == []
    page.get_by_role("button", name=name("talks.heading"), exact=True).click()
    talks = page.get_by_role("dialog", name=name("talks.heading"))
    talk = talks.get_by_role("listitem").first
    talk.get_by_role("button", name=name("talks.delete_one", name=QUESTION)).click()
    expect(talk.get_by_role("button", name=name("talks.really_one", name=QUESTION))).to_be_visible()
    assert too_wide(page) == []
    talks.get_by_role("button", name=name("talks.close")).click()
    page.get_by_role("button", name=name("unit.documents", n=1), exact=True).click()
    page.get_by_role("button", name=name("collections.new")).click()
    page.get_by_role("button", name=name("documents.delete", name="burrows")).click()
    assert too_wide(page) == []
    page.get_by_role("button", name=name("documents.keep", name="burrows")).click()
    page.get_by_role("button", name=name("documents.about", name="burrows")).click()
    page.get_by_role("dialog", name="burrows").get_by_role("button", name=name("about.add")).click()
    assert too_wide(page) == []
    assert faults(page) == []


def test_the_browsers_languages_are_asked_in_their_order(open_page: Opened) -> None:
    asked: list[str] = []

    def before(page: Page) -> None:
        page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
        page.add_init_script(
            "Object.defineProperty(navigator, 'languages', { get: () => ['nl-NL', 'pt-PT', 'de'] })"
        )

    page = open_page(before=before)
    expect(page.locator("html")).to_have_attribute("lang", "pt")
    assert [name for name in asked if name.endswith(".json")] == ["pt.json"]


@pytest.mark.parametrize("locale", ["nl-NL", "en-GB"])
def test_english_is_spoken_where_nothing_else_fits(open_page: Opened, locale: str) -> None:
    page = open_page(locale=locale)
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.get_by_role("textbox", name="What would you like to know?")).to_be_visible()


def test_a_choice_is_kept_and_the_conversation_with_it(open_page: Opened, collection: str) -> None:
    page = open_page(collection=collection, locale="de-DE")
    page.set_input_files("#files", [file("burrows.txt", TEXT)])  # type: ignore[list-item]
    expect(page.locator("#docs .is-ready")).to_have_count(1, timeout=90_000)
    page.fill("#question", QUESTION)
    page.keyboard.press("Enter")
    expect(page.locator(".turn")).not_to_have_class(re.compile("is-running"), timeout=120_000)
    languages = page.get_by_role("combobox", name=said("de", "page.language"))
    own_names = ["English", "Deutsch", "Français", "Italiano", "Português", "हिन्दी", "Español", "ไทย"]
    expect(languages.get_by_role("option")).to_have_text(own_names)
    languages.select_option("th")
    expect(page.locator("html")).to_have_attribute("lang", "th")
    expect(page.get_by_role("button", name=said("th", "turn.copy"))).to_be_visible()
    expect(page.locator(".quote blockquote").first).to_contain_text("twelve metres")
    page.reload()
    expect(page.get_by_role("textbox", name=said("th", "ask.label"))).to_be_visible()
    expect(page.get_by_role("combobox", name=said("th", "page.language"))).to_have_value("th")


def test_a_language_is_chosen_by_the_keyboard(open_page: Opened) -> None:
    page = open_page(locale="en-US")
    page.get_by_role("combobox", name="Language").focus()
    for value in ("de", "fr"):
        page.keyboard.press("ArrowDown")
        expect(page.get_by_role("combobox", name="Language")).to_have_value(value)
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("lang", "fr")
    page.get_by_role("combobox", name=said("fr", "page.language")).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    expect(page.locator("html")).to_have_attribute("lang", "it")


def test_nothing_is_shown_before_its_words_are_there(browser: Browser, server: str) -> None:
    context = browser.new_context(locale="it-IT", viewport=DESKTOP)
    page = context.new_page()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/words/it.json", hold)
    page.goto(server, wait_until="commit")
    while not held:
        page.wait_for_timeout(20)
    expect(page.locator("body")).to_have_css("visibility", "hidden")
    held[0].continue_()
    expect(page.get_by_role("textbox", name=said("it", "ask.label"))).to_be_visible()
    expect(page.locator("body")).to_have_css("visibility", "visible")
    context.close()


def test_a_catalog_that_is_not_there_leaves_english(open_page: Opened, watch: Watch) -> None:
    watch.tolerated = ("404",)
    page = open_page(
        locale="hi-IN",
        before=lambda page: page.route("**/words/hi.json", lambda route: route.fulfill(status=404)),
    )
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_visible()


SAY = """async ([language, key, values]) => {
  localStorage.setItem("longleaf.language", language);
  const { t } = await import(`/assets/speech.js?${language}`);
  return values.map((value) => t(key, { n: value }));
}"""


def test_numbers_choose_the_form_that_the_language_asks_for(open_page: Opened) -> None:
    page = open_page()
    for language in LANGUAGES:
        asked = set(
            page.evaluate("(l) => new Intl.PluralRules(l).resolvedOptions().pluralCategories", language)
        )
        for key, message in catalog(language).items():
            assert all(set(choice.forms) == asked for choice in choices(message)), (language, key)

    def shown(language: str) -> list[str]:
        texts = page.evaluate(SAY, [language, "unit.documents", [0, 1, 2, 1234, 1_000_000]])
        return [re.sub(r"\s", " ", text) for text in texts]

    assert shown("en") == [
        "0 documents",
        "1 document",
        "2 documents",
        "1,234 documents",
        "1,000,000 documents",
    ]
    assert shown("de") == [
        "0 Dokumente",
        "1 Dokument",
        "2 Dokumente",
        "1.234 Dokumente",
        "1.000.000 Dokumente",
    ]
    assert shown("fr")[0] == "0 document"
    assert shown("fr")[-1] == "1 000 000 de documents"
    assert shown("es")[-1] == "1.000.000 de documentos"


def test_the_servers_words_stand_beneath_the_pages(open_page: Opened, watch: Watch) -> None:
    watch.tolerated = ("503",)
    page = open_page(locale="es-ES")
    page.route(
        "**/conversations",
        lambda route: route.fulfill(status=503, json={"code": "overloaded", "detail": "40 wait already."}),
    )
    page.fill("#question", "?")
    page.keyboard.press("Enter")
    stage = page.locator(".turn-stage")
    expect(stage).to_contain_text(said("es", "problem.overloaded"))
    expect(stage.locator("[lang=en]")).to_have_text("40 wait already.")
