"""What the page shows of an answer beside its text: the ledger as a picture, worth, doubts, a second look."""

from __future__ import annotations

import json
from typing import Any

import pytest
from page_support import Opened, Watch, file
from playwright.sync_api import Locator, Page, Request, Route, expect
from test_page_streams import CONTEXT, DROPPED, HOSTILE, SEGMENT, ask, citation, done, send

pytestmark = pytest.mark.browser


def answered(page: Page, **more: Any) -> Locator:
    """One answer with two quotes and whatever else is given."""
    quotes = [citation(1), citation(2, "Seeds sprout on bare soil.")]
    body = done("Fire clears rivals [1]. He sings [?].", "answered", quotes) | more
    receipts = [("receipt", receipt) for receipt in more.get("receipts", [])]
    send(page, ("context", CONTEXT), *(("citation", q) for q in quotes), *receipts, ("done", body))
    ask(page)
    turn = page.locator(".turn").first
    expect(turn).not_to_have_attribute("aria-busy", "true")
    return turn


def test_the_ledger_is_a_picture_that_speaks(open_page: Opened) -> None:
    page = open_page()
    other = SEGMENT | {"document_id": "doc_c", "document_title": HOSTILE, "tokens": 400, "cut": True}
    context = CONTEXT | {
        "tokens": 1634,
        "segments": [SEGMENT, other],
        "dropped": [DROPPED | {"reason": "over_budget"}, DROPPED | {"reason": "near_duplicate"}],
    }
    turn = answered(page, context=context)
    turn.locator("summary").click()
    parts = turn.locator(".ledger-part")
    widths = parts.evaluate_all("(parts) => parts.map((part) => part.getBoundingClientRect().width)")
    assert widths[0] / widths[1] == pytest.approx(1234 / 400, rel=0.02)
    bar = turn.locator(".ledger-bar").evaluate("(bar) => bar.getBoundingClientRect().width")
    assert sum(widths) / bar == pytest.approx(1634 / 2048, rel=0.02)
    colours = parts.evaluate_all("(parts) => parts.map((part) => getComputedStyle(part).backgroundColor)")
    assert colours[0] != colours[1]
    line = turn.locator(".ledger-line")
    parts.nth(1).hover()
    expect(line).to_contain_text("400 tokens, cut to fit")
    parts.nth(1).focus()
    page.keyboard.press("Tab")
    expect(turn.locator(".ledger-peg").first).to_be_focused()
    expect(line).to_have_text("Left out: Notes: did not fit into what is read for one answer")
    page.keyboard.press("Tab")
    expect(line).to_have_text("Left out: Notes: says the same as a passage that was read")
    rows = turn.get_by_role("row").filter(has_text="Notes")
    expect(rows).to_have_count(2)
    expect(turn.get_by_role("row").filter(has_text="Guide · pages 2–3")).to_contain_text("1,234 tokens")
    assert page.evaluate("window.pwned") is None


def test_what_a_quote_is_worth_is_drawn_and_said(open_page: Opened) -> None:
    page = open_page()
    receipts = [
        {"citation_id": 1, "drop": 6.0, "of": "answer"},
        {"citation_id": 2, "drop": 0.01, "of": "answer"},
    ]
    turn = answered(page, receipts=receipts)
    first, second = turn.locator(".quote").all()
    expect(first.locator(".worth")).to_have_text("The answer fits 403 times better with this quote")
    expect(second.locator(".worth")).to_have_text("The answer fits as well without this quote")
    widths = [
        each.locator(".worth-bar").evaluate("(bar) => bar.getBoundingClientRect().width")
        for each in (first, second)
    ]
    assert widths[0] > 50
    assert widths[1] < 1


def test_doubts_stand_before_the_quotes(open_page: Opened) -> None:
    page = open_page()
    turn = answered(
        page,
        unsupported=["He sings."],
        warnings=["The model was made for English, not for Hindi: hold its sentences against the quotes."],
        disagreements=[{"citation_ids": [1, 2], "values": ["1871", HOSTILE], "kind": "date"}],
        language="hi",
    )
    notes = turn.locator(".turn-notes li")
    expect(notes).to_have_count(3)
    expect(notes.nth(0)).to_contain_text("The sources disagree: 1871 in quote 1")
    expect(notes.nth(1)).to_have_text("1 sentence marked “?”: no quote supports it.")
    expect(notes.nth(2)).to_contain_text("not for Hindi")
    mark = turn.get_by_role("img", name="No quote supports this sentence")
    expect(mark).to_have_text("?")
    expect(turn.locator(".turn-answer")).to_have_attribute("lang", "hi")
    assert page.evaluate("window.pwned") is None


def test_a_conversation_is_sent_and_can_be_begun_anew(open_page: Opened) -> None:
    page = open_page()
    asked: list[dict[str, Any]] = []

    def note(request: Request) -> None:
        if request.url.endswith("/query"):
            asked.append(json.loads(request.post_data or ""))

    page.on("request", note)
    send(page, ("done", done("Yes [1].", "answered", [citation(1)])))
    for question in ("First?", "Second?"):
        ask(page, question)
        expect(page.locator(".turn").first).to_contain_text("Took")
    expect(page.locator("#ask-talk")).to_contain_text("Follows on from 2 questions")
    page.get_by_role("button", name="Start anew").click()
    expect(page.locator("#ask-talk")).to_be_hidden()
    page.get_by_role("checkbox", name="Weigh each quote").check()
    ask(page, "Third?")
    expect(page.locator(".turn")).to_have_count(3)
    expect(page.locator(".turn").first).to_contain_text("Took")
    first, second, third = (body["conversation_id"] for body in asked)
    assert first == second != third
    assert not any("history" in body for body in asked)
    assert [body.get("receipts") for body in asked] == [None, None, True]


def test_an_answer_can_be_checked_again(open_page: Opened) -> None:
    page = open_page()
    bodies: list[dict[str, Any]] = [
        {"answer_id": "ans_1", "answer": "Yes [1]."},
        {
            "answer_id": "ans_1",
            "changed": [{"what": "document_deleted", "document_id": "doc_a"}, {"what": "ranking"}],
        },
    ]

    def answer(route: Route) -> None:
        route.fulfill(status=200, content_type="application/json", body=json.dumps(bodies.pop(0)))

    page.route("**/answers/ans_1/replay", answer)
    turn = answered(page)
    again = turn.get_by_role("button", name="Check again")
    again.click()
    expect(turn.locator(".replay")).to_have_text("Answered again: the same, to the last byte.")
    again.click()
    expect(turn.locator(".replay li")).to_have_text(
        ["A document was deleted: doc_a", "The search finds other passages, or in another order"]
    )


def test_on_the_real_service(open_page: Opened, collection: str, watch: Watch) -> None:
    watch.tolerated = ()
    page = open_page(collection=collection)
    page.get_by_role("checkbox", name="Weigh each quote").check()
    text = "The gopher tortoise digs burrows that are up to twelve metres long.\n\nIt eats wiregrass."
    page.set_input_files("#files", [file("notes.txt", text)])  # type: ignore[list-item]
    expect(page.locator("#docs .is-ready")).to_have_count(1, timeout=60_000)
    ask(page, "How long are the burrows of the gopher tortoise?")
    turn = page.locator(".turn").first
    expect(turn).not_to_have_attribute("aria-busy", "true", timeout=90_000)
    expect(turn.locator(".quote").first.locator(".worth")).to_contain_text("better with this quote")
    turn.get_by_role("button", name="Check again").click()
    expect(turn.locator(".replay")).to_have_text(
        "Answered again: the same, to the last byte.", timeout=90_000
    )
