"""Two answers side by side, and what a person says of an answer."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from page_support import DESKTOP, PHONE, Opened, file
from playwright.sync_api import Locator, Page, expect
from test_page_accessibility import faults

from tests.api.conftest import LEASE

pytestmark = pytest.mark.browser

NEW, OLD = LEASE, LEASE.replace("fourteen", "six")
QUESTION = "How long is the notice period?"


def answered(page: Page, *files: dict[str, Any]) -> Locator:
    page.set_input_files("#files", list(files))  # type: ignore[arg-type]
    expect(page.locator("#docs .is-ready")).to_have_count(len(files), timeout=60_000)
    page.fill("#question", QUESTION)
    page.keyboard.press("Enter")
    turn = page.locator(".turn").first
    expect(turn).not_to_have_class(re.compile("is-running"), timeout=90_000)
    return turn


@pytest.mark.parametrize("options", [{"viewport": DESKTOP}, {"viewport": PHONE, "color_scheme": "dark"}])
def test_another_answer_is_shown_beside_the_first(
    open_page: Opened, collection: str, options: dict[str, Any]
) -> None:
    page = open_page(collection=collection, **options)
    turn = answered(page, file("old.txt", OLD), file("new.txt", NEW))
    before = turn.locator(".quote blockquote").all_inner_texts()
    assert any("fourteen" in text for text in before)
    opener = turn.get_by_role("button", name="Compare")
    opener.click()
    dialog = page.get_by_role("dialog", name="Two answers side by side")
    expect(dialog.get_by_role("heading", name="Two answers side by side")).to_be_focused()
    expect(dialog.get_by_label("Question")).to_have_value(QUESTION)
    dialog.get_by_label("Kind of answer").select_option("quotes")
    dialog.get_by_label("Only documents with").fill('{"filename": "old.txt"}')
    page.keyboard.press("Enter")
    first = dialog.get_by_role("region", name="First answer")
    second = dialog.get_by_role("region", name="Second answer")
    expect(second).to_contain_text("six months", timeout=60_000)
    expect(second).not_to_contain_text("fourteen")
    assert first.locator("blockquote").all_inner_texts() == before
    # what is in one alone is marked there, and said
    alone = first.locator(".is-only")
    expect(alone.filter(has_text="fourteen")).to_contain_text("only here")
    expect(first.locator("mark").first).to_be_visible()
    expect(dialog.get_by_role("status")).to_contain_text(
        re.compile(r"The words differ\. \d+ quotes? (is|are)")
    )
    row = dialog.get_by_role("row").filter(has=page.get_by_role("rowheader", name="Quotes"))
    assert row.get_by_role("cell").all_inner_texts()[0] == str(len(before))
    took = dialog.get_by_role("row").filter(has=page.get_by_role("rowheader", name="Time"))
    assert all(re.search(r"\d", text) for text in took.get_by_role("cell").all_inner_texts())
    assert faults(page) == []

    one, other = first.bounding_box(), second.bounding_box()
    assert one is not None
    assert other is not None
    if options["viewport"] == PHONE:
        assert other["y"] >= one["y"] + one["height"]
        assert page.evaluate("document.documentElement.scrollWidth <= Math.min(innerWidth, screen.width)")
        assert dialog.evaluate("(dialog) => dialog.scrollWidth <= dialog.clientWidth")
    else:
        assert other["x"] >= one["x"] + one["width"]

    # made again with all that it was made with, it is the same
    dialog.get_by_role("button", name="Make it again and compare").click()
    expect(second).to_contain_text("the same, to the last byte", timeout=60_000)
    expect(dialog.locator(".is-only, mark")).to_have_count(0)
    expect(dialog.get_by_role("status")).to_have_text("Both say the same. 0 quotes are in one alone.")
    # what can't be asked is said
    dialog.get_by_label("Only documents with").fill("year >= 2023")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("status")).to_have_text("This filter can't be used.")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(opener).to_be_focused()


def test_what_changed_since_is_said_beside_the_answer_of_now(
    open_page: Opened, collection: str, server: str
) -> None:
    page = open_page(collection=collection)
    turn = answered(page, file("old.txt", OLD), file("new.txt", NEW))
    listed = httpx.get(f"{server}/documents?collection={collection}").json()["documents"]
    gone = next(each["id"] for each in listed if each["filename"] == "new.txt")
    assert httpx.delete(f"{server}/documents/{gone}").status_code == 204
    turn.get_by_role("button", name="Compare").click()
    page.get_by_role("button", name="Make it again and compare").click()
    second = page.get_by_role("region", name="Second answer")
    expect(second).to_contain_text("A document was deleted", timeout=60_000)
    expect(second.locator("blockquote").first).to_contain_text("six months")


def test_a_person_says_whether_it_was_right_and_thinks_better_of_it(
    open_page: Opened, collection: str, server: str
) -> None:
    page = open_page(collection=collection)
    turn = answered(page, file("old.txt", OLD), file("new.txt", NEW))
    asked = turn.get_by_role("group", name="Was this right?")
    yes, no = (asked.get_by_role("button", name=name, exact=True) for name in ("Yes", "No"))
    expect(yes).to_have_attribute("aria-pressed", "false")
    no.focus()
    page.keyboard.press("Enter")
    expect(no).to_have_attribute("aria-pressed", "true")
    expect(asked).to_contain_text("Whoever may change the documents of this collection reads this")

    def said() -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = httpx.get(f"{server}/feedback?collection={collection}").json()[
            "feedback"
        ]
        return listed

    assert [(each["correct"], each["comment"]) for each in said()] == [(False, None)]
    asked.get_by_role("checkbox", name="Quote 1").check()
    asked.get_by_role("textbox").fill("It is <b>twelve</b> by now. 🌲")
    asked.get_by_role("button", name="Save").click()
    expect(asked.get_by_role("status")).to_have_text("Kept.")
    (kept,) = said()
    assert (kept["comment"], kept["wrong_citations"]) == ("It is <b>twelve</b> by now. 🌲", [1])
    assert (kept["question"], kept["by"]) == (QUESTION, "local")
    assert faults(page) == []

    # it is there again with the conversation
    page.reload()
    page.get_by_role("button", name="Conversations").click()
    page.locator("#talks-list").get_by_role("button", name=QUESTION, exact=True).first.click()
    asked = page.get_by_role("group", name="Was this right?")
    expect(asked.get_by_role("button", name="No", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(asked.get_by_role("textbox")).to_have_value("It is <b>twelve</b> by now. 🌲")
    expect(asked.get_by_role("checkbox", name="Quote 1")).to_be_checked()
    # those who keep the collection read it
    page.get_by_role("button", name="Administration").click()
    dialog = page.get_by_role("dialog", name="Administration")
    dialog.get_by_role("button", name="Feedback").click()
    line = dialog.get_by_role("listitem").filter(has_text="twelve").first
    expect(line).to_contain_text("Wrong quotes: 1")
    line.get_by_text("The answer").click()
    expect(line.locator(".said-of blockquote").first).to_contain_text("months")
    assert faults(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Administration")).to_be_focused()

    asked.get_by_role("button", name="Yes", exact=True).click()
    expect(asked.get_by_role("button", name="Yes", exact=True)).to_have_attribute("aria-pressed", "true")
    assert [(each["correct"], each["wrong_citations"]) for each in said()] == [(True, [])]
    asked.get_by_role("button", name="Take it back").click()
    expect(asked.get_by_role("status")).to_have_text("Taken back.")
    expect(asked.get_by_role("textbox")).to_have_count(0)
    assert said() == []
