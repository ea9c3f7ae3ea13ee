"""A person's ways through the page, in a real Chromium on the real service."""

from __future__ import annotations

import re

import httpx
import pytest
from page_support import PHONE, Opened, Watch, file
from pdf_pages import pdf_of
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser

GUIDE = [
    "The longleaf pine grows slowly at first. A seedling looks like a tuft of grass and stays in this grass "
    "stage for five to twelve years, while its root reaches down more than two metres.",
    "Fire keeps the forest open. Ground fires every two to four years clear the litter, so that seeds reach "
    "bare mineral soil. The thick bark protects grown trees from the heat.",
    "The red-cockaded woodpecker digs its nest into living pines. It needs trees that are at least eighty "
    "years old, because their heartwood has been softened by a fungus.",
]
NOTES = """# Field notes

The gopher tortoise digs burrows that are up to twelve metres long. More than three hundred other species
shelter in them during a fire.

## Wiregrass

Wiregrass carries the ground fires from tree to tree. It flowers only in the months after a burn.
"""
QUESTION = "How long does a seedling stay in the grass stage?"


def row(page: Page, name: str) -> Locator:
    return page.locator("#docs .doc", has_text=name)


def add(page: Page, *files: dict[str, object]) -> None:
    page.set_input_files("#files", list(files))  # type: ignore[arg-type]


def drop(page: Page, name: str, text: str) -> None:
    """Drop a file onto the page as a file manager does."""
    transfer = page.evaluate_handle(
        """([name, text]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([text], name, { type: "text/markdown" }));
          return transfer;
        }""",
        [name, text],
    )
    page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
    expect(page.locator("#veil")).to_be_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    expect(page.locator("#veil")).to_be_hidden()


def answered(page: Page, question: str) -> Locator:
    """Ask by the keyboard and wait for the end of the answer."""
    page.fill("#question", question)
    page.keyboard.press("Enter")
    turn = page.locator(".turn").first
    expect(turn.locator(".turn-question")).to_have_text(question)
    expect(turn).not_to_have_class(re.compile("is-running"), timeout=90_000)
    return turn


def marked_text(page: Page) -> str:
    return str(
        page.locator("#reader mark").evaluate_all("(marks) => marks.map((m) => m.textContent).join('')")
    )


def test_from_the_file_to_the_passage_and_away(
    open_page: Opened, collection: str, server: str, watch: Watch
) -> None:
    watch.tolerated = ("404",)  # Chromium reports on the console that a deleted document is gone
    page = open_page(collection=collection)
    expect(page.locator("#ask-scope")).to_have_text("Add a document first, then ask about it")
    page.evaluate(
        """() => {
          window.seen = [];
          new MutationObserver(() => {
            for (const line of document.querySelectorAll("#docs .doc-state, .turn-stage"))
              window.seen.push(line.textContent);
          }).observe(document.body, { subtree: true, childList: true, characterData: true });
          const real = window.fetch;
          window.fetch = async (...call) => {
            const response = await real(...call);
            if (String(call[0]).endsWith("query")) window.streamed = response.clone().text();
            return response;
          };
        }"""
    )
    drop(page, "field notes.md", NOTES)
    add(page, file("longleaf guide.pdf", pdf_of(GUIDE), "application/pdf"))
    expect(page.locator("#docs .is-ready")).to_have_count(2, timeout=60_000)
    expect(row(page, "longleaf guide").locator(".doc-state")).to_have_text(
        re.compile(r"PDF · 3 pages · \d+ passages?")
    )
    expect(page.locator("#ask-scope")).to_have_text(f"Asks 2 documents in “{collection}”")

    turn = answered(page, QUESTION)
    body = page.evaluate("window.streamed")
    order = [kind for kind in re.findall(r"^event: (\w+)", body, re.M) if kind != "progress"]
    assert order.index("context") < order.index("citation") < order.index("done")
    seen = page.evaluate("window.seen")
    assert any(re.match(r"Reading|Waiting|Indexing|Cutting", text) for text in seen)
    assert any(re.match(r"Everything fits|Found \d+ passage", text) for text in seen)

    quote = turn.locator(".quote", has_text="five to twelve years")
    expect(quote.locator(".quote-source")).to_contain_text("page 1")
    quote.locator(".quote-open").click()
    expect(page.locator("#reader-where")).to_have_text("Page 1 of 3")
    assert marked_text(page) == quote.locator("blockquote").evaluate("(quote) => quote.textContent")
    expect(page.locator("#reader .leaf-text")).to_contain_text("root reaches down")
    page.get_by_role("button", name="Page 2", exact=True).click()
    expect(page.locator("#reader .leaf")).to_have_count(2)
    expect(page.locator("#reader .leaf").nth(1)).to_contain_text("thick bark")
    page.keyboard.press("Escape")
    expect(page.locator("#reader")).to_be_hidden()
    expect(quote.locator(".quote-open")).to_be_focused()

    turn.locator("summary").click()
    expect(turn.locator(".ledger")).to_contain_text(re.compile(r"[\d,]+ of at most [\d,]+ tokens\."))
    expect(turn.locator(".ledger-table").first).to_contain_text("longleaf guide")

    guide = row(page, "longleaf guide")
    guide.hover()
    guide.get_by_role("button", name=re.compile("^Delete")).click()
    guide.get_by_role("button", name=re.compile("for good$")).click()
    expect(guide).to_have_count(0)
    listed = httpx.get(f"{server}/documents", params={"collection": collection}).json()["documents"]
    assert [document["filename"] for document in listed] == ["field notes.md"]
    quote.locator(".quote-open").click()
    expect(page.locator("#reader-where")).to_contain_text("may have been deleted")


def test_a_passage_without_pages_stands_in_its_text(open_page: Opened, collection: str) -> None:
    filler = "\n\n".join(
        f"Entry {number}: rain, {number % 13} millimetres, wind from the west." for number in range(400)
    )
    page = open_page(collection=collection)
    add(page, file("journal 🌲.txt", f"{filler}\n\n{NOTES}\n\n{filler}"))
    expect(page.locator("#docs .is-ready")).to_have_count(1, timeout=60_000)
    turn = answered(page, "How long are the burrows of the gopher tortoise?")
    quote = turn.locator(".quote", has_text="gopher tortoise").first
    quote.locator(".quote-open").click()
    expect(page.locator("#reader-where")).to_have_text(re.compile(r"(49|50|51)% into the document"))
    assert marked_text(page) == quote.locator("blockquote").evaluate("(quote) => quote.textContent")
    expect(page.locator("#reader mark")).to_be_in_viewport()
    shown = page.locator("#reader .leaf-text")
    before = shown.evaluate("(text) => text.textContent.length")
    for name in ("Earlier", "Later"):
        page.get_by_role("button", name=name, exact=True).click()
        expect(page.get_by_role("button", name=name, exact=True)).to_be_enabled()
    assert shown.evaluate("(text) => text.textContent.length") == before + 8000


def test_files_that_cannot_be_read_say_why(open_page: Opened, collection: str, watch: Watch) -> None:
    watch.tolerated = ("409", "415", "422")
    page = open_page(collection=collection)
    name = "<b onclick=alert(1)>scan</b>.pdf"
    add(
        page,
        file("noise.bin", bytes(range(256)) * 40, "application/octet-stream"),
        file(name, pdf_of([""]), "application/pdf"),
        file("nothing.txt", ""),
        file("notes.md", NOTES),
    )
    lines = page.locator("#docs .doc, #uploads .doc")
    expect(lines.filter(has_text="noise").locator(".doc-state")).to_contain_text(
        "Files of this kind are not read."
    )
    expect(lines.filter(has_text="scan").locator(".doc-state")).to_contain_text(
        "It holds no text", timeout=60_000
    )
    expect(lines.filter(has_text="nothing").locator(".doc-state")).to_contain_text("The file is empty.")
    expect(page.locator("#library b")).to_have_count(0)
    expect(page.locator("#docs .is-ready")).to_have_count(1, timeout=60_000)

    add(page, file("again.md", NOTES))
    waiting = page.locator("#uploads .doc", has_text="again.md")
    expect(waiting).to_contain_text("The same file is already in this collection.")
    waiting.get_by_role("button", name="Show it").click()
    expect(row(page, "notes").locator(".doc-title")).to_be_focused()
    expect(page.locator("#uploads")).to_be_hidden()


def test_keyboard_alone(open_page: Opened, collection: str) -> None:
    page = open_page()

    def tab_to(name: str | re.Pattern[str], key: str = "Tab", most: int = 40) -> None:
        target = page.get_by_role("button", name=name).first
        for _ in range(most):
            page.keyboard.press(key)
            if target.evaluate("(element) => element === document.activeElement"):
                return
        pytest.fail(f"{name} is not reached by {key}")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the question")).to_be_focused()
    tab_to("New collection")
    page.keyboard.press("Enter")
    expect(page.locator("#collection-name")).to_be_focused()
    page.keyboard.type(f"{collection} by keys")
    page.keyboard.press("Enter")
    expect(page.locator("#collection")).to_have_value(f"{collection} by keys")
    expect(page.get_by_role("button", name="New collection")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        tab_to("files")
        page.keyboard.press("Enter")
    chooser.value.set_files([file("field notes.md", NOTES)])  # type: ignore[list-item]
    expect(page.locator("#docs .is-ready")).to_have_count(1, timeout=60_000)

    page.keyboard.press("/")
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("What does wiregrass carry")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("/ when does it flower?")
    expect(page.locator("#question")).to_have_value("What does wiregrass carry\n/ when does it flower?")
    page.keyboard.press("Enter")
    expect(page.locator(".turn")).not_to_have_class(re.compile("is-running"), timeout=90_000)
    tab_to(re.compile("^Quote 1"))
    outline = page.evaluate("getComputedStyle(document.activeElement, '::after').outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("#reader-title")).to_be_focused()
    expect(page.locator("#reader mark")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name=re.compile("^Quote 1"))).to_be_focused()

    tab_to(re.compile("^Delete"), "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name=re.compile("^Keep"))).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name=re.compile("^Delete"))).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#docs .doc")).to_have_count(0)
    expect(page.locator("#pick-files")).to_be_focused()


def test_chosen_documents_alone_are_asked(open_page: Opened, collection: str) -> None:
    page = open_page(collection=collection)
    add(page, file("tortoise.md", NOTES), file("guide.txt", "\n\n".join(GUIDE)))
    expect(page.locator("#docs .is-ready")).to_have_count(2, timeout=60_000)
    page.get_by_role("checkbox", name="Ask only guide").check()
    expect(page.locator("#ask-scope")).to_have_text("Asks the chosen document")
    turn = answered(page, "How far down does the root of the seedling reach?")
    sources = turn.locator(".quote-source").all_inner_texts()
    assert sources
    assert all("guide" in source for source in sources)
    page.get_by_role("button", name="Ask all").click()
    expect(page.locator("#ask-scope")).to_contain_text("2 documents")


def test_a_phone_in_the_dark(open_page: Opened, collection: str) -> None:
    page = open_page(
        collection=collection, viewport=PHONE, has_touch=True, is_mobile=True, color_scheme="dark"
    )

    def fits() -> bool:
        return bool(
            page.evaluate("document.documentElement.scrollWidth <= Math.min(innerWidth, screen.width)")
        )

    assert fits()
    add(page, file(f"{'a-long-name-without-a-break' * 4}.md", NOTES))
    expect(page.locator("#docs .is-ready")).to_have_count(1, timeout=60_000)
    assert fits()
    if page.locator("#library").is_visible():
        page.locator("#library-toggle").tap()
    expect(page.locator("#library")).to_be_hidden()
    page.fill("#question", "What does wiregrass carry?")
    page.locator("#ask-go").tap()
    expect(page.locator(".turn")).not_to_have_class(re.compile("is-running"), timeout=90_000)
    page.locator("summary").tap()
    assert fits()
    page.locator(".quote-open").first.tap()
    reader = page.locator("#reader")
    expect(reader.locator("mark")).to_be_in_viewport()
    box = reader.bounding_box()
    assert box
    assert (box["x"], box["width"]) == (0, PHONE["width"])
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert max(int(part) for part in re.findall(r"\d+", background)) < 40
    page.locator("#reader-close").tap()
    expect(reader).to_be_hidden()
