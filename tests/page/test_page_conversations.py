"""Conversations on the page: kept, opened again after a reload, continued, renamed, shared, deleted."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from page_support import Opened, file
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

LEASE = "The lease of the mill begins on the first of March 2021. Its notice period is fourteen months."
FIRST = "How long is the notice period of the lease of the mill?"


def _ask(page: Page, question: str) -> None:
    page.fill("#question", question)
    page.keyboard.press("Enter")
    turn = page.locator(".turn").first
    expect(turn.locator(".turn-question")).to_have_text(question)
    expect(turn).not_to_have_class(re.compile("is-running"), timeout=90_000)


def test_a_conversation_is_opened_again_continued_and_deleted(
    open_page: Opened, server: str, collection: str
) -> None:
    page = open_page(collection=collection)
    page.set_input_files("#files", [file("lease.txt", LEASE)])  # type: ignore[list-item]
    expect(page.locator("#docs .is-ready")).to_have_count(1, timeout=60_000)
    _ask(page, FIRST)
    _ask(page, "And when does it begin?")
    expect(page.locator("#ask-talk")).to_contain_text("Follows on from 2 questions")

    # after a reload it is in the list, and goes on where it ended
    page.reload()
    expect(page.locator(".turn")).to_have_count(0)
    page.get_by_role("button", name="Conversations").click()
    talk = page.locator("#talks-list li", has_text=FIRST).first
    expect(talk).to_contain_text(f"2 questions · {collection}")
    talk.get_by_role("button", name=FIRST, exact=True).click()
    expect(page.locator("#talks")).to_be_hidden()
    expect(page.locator(".turn")).to_have_count(2)
    expect(page.locator(".turn").last.locator(".quote").first).to_contain_text("fourteen months")
    page.locator(".turn").last.locator(".quote-open").first.click()
    expect(page.locator("#reader mark")).to_be_visible()
    page.keyboard.press("Escape")
    _ask(page, "Does it say where the mill is?")
    expect(page.locator("#ask-talk")).to_contain_text("Follows on from 3 questions")

    # renamed and shared: the link opens it
    page.get_by_role("button", name="Conversations").click()
    talk = page.locator("#talks-list li").first
    talk.get_by_role("button", name=re.compile("^Rename")).click()
    field = talk.get_by_role("textbox", name="Title")
    expect(field).to_be_focused()
    field.fill("Lease <b>of</b> the mill")
    page.keyboard.press("Enter")
    expect(talk.get_by_role("button", name="Lease <b>of</b> the mill", exact=True)).to_be_visible()
    talk.get_by_role("button", name=re.compile("^Share")).click()
    expect(talk).to_contain_text("shared")
    held: dict[str, Any] = httpx.get(f"{server}/conversations").json()["conversations"][0]
    assert (held["title"], held["shared"], held["turns"]) == ("Lease <b>of</b> the mill", True, 3)
    page.keyboard.press("Escape")
    page.reload()
    expect(page.locator(".turn")).to_have_count(0)
    page.goto(f"{server}/#conversation={held['id']}")
    expect(page.locator(".turn")).to_have_count(3)

    # its document goes, and so do the words
    for document in httpx.get(f"{server}/documents?collection={collection}").json()["documents"]:
        assert httpx.delete(f"{server}/documents/{document['id']}").status_code == 204
    page.reload()
    expect(page.locator(".turn").last).to_contain_text("gone or was replaced")
    expect(page.locator("#answers")).not_to_contain_text("fourteen")

    page.get_by_role("button", name="Conversations").click()
    talk = page.locator("#talks-list li").first
    talk.get_by_role("button", name=re.compile("^Delete")).click()
    talk.get_by_role("button", name=re.compile("^Really delete")).click()
    expect(page.locator("#talks-status")).to_contain_text("Deleted")
    expect(page.locator(".turn")).to_have_count(0)
    assert httpx.get(f"{server}/conversations/{held['id']}").status_code == 404
