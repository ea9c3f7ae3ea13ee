"""Passages that fit are shown while a question is typed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from page_support import PHONE, Opened, Watch, file
from playwright.sync_api import Page, Request, Route, expect

from tests.page.test_page_accessibility import faults

pytestmark = pytest.mark.browser

NOTES = """The gopher tortoise digs burrows that are up to twelve metres long.

Wiregrass carries the ground fires from tree to tree. It flowers only in the months after a burn.
"""


def filled(page: Page, *names: str) -> None:
    page.set_input_files("#files", [file(name, f"{name}\n\n{NOTES}") for name in names])  # type: ignore[list-item]
    expect(page.locator("#docs .is-ready")).to_have_count(len(names), timeout=60_000)


def searches(page: Page) -> list[dict[str, Any]]:
    """What the page asks `POST /search` for from now on."""
    bodies: list[dict[str, Any]] = []

    def note(request: Request) -> None:
        if request.url.endswith("/search"):
            bodies.append(json.loads(request.post_data or ""))

    page.on("request", note)
    return bodies


@pytest.mark.parametrize("viewport", [None, PHONE])
def test_passages_come_while_one_types_and_go_with_the_question(
    open_page: Opened, collection: str, viewport: dict[str, int] | None
) -> None:
    page = open_page(collection=collection, **({"viewport": viewport} if viewport else {}))
    filled(page, "notes.txt")
    asked = searches(page)
    field, found = page.locator("#question"), page.locator("#finds-list button")
    field.press_sequentially("wh")
    field.press_sequentially("at carries the ground fires", delay=20)
    expect(found).to_have_count(1)
    expect(page.locator("#finds-count")).to_have_text("1 passage fits")
    assert asked[-1] == {"query": "what carries the ground fires", "collection": collection, "top_k": 5}
    assert len(asked) < len("at carries the ground fires") / 2, "not for each letter"
    assert faults(page) == []
    found.first.press("Enter")
    expect(page.locator("#reader mark").first).to_contain_text("notes.txt")
    page.keyboard.press("Escape")
    expect(page.locator("#reader")).to_be_hidden()
    expect(found.first).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#finds")).to_be_hidden()
    expect(field).to_be_focused()
    field.press_sequentially("?")
    expect(found).to_have_count(1)
    field.press("Enter")
    expect(page.locator("#finds")).to_be_hidden()
    expect(page.locator(".turn").first).not_to_have_class(re.compile("is-running"), timeout=90_000)
    expect(page.locator("#finds")).to_be_hidden()


def test_only_chosen_documents_are_searched(open_page: Opened, collection: str) -> None:
    page = open_page(collection=collection)
    filled(page, "one.txt", "two.txt")
    asked = searches(page)
    page.locator("#docs input[type=checkbox]").first.check()
    page.locator("#question").press_sequentially("tortoise", delay=20)
    expect(page.locator("#finds-list button")).to_have_count(1)
    assert len(asked[-1]["document_ids"]) == 1


def test_a_server_that_refuses_is_left_in_peace(open_page: Opened, collection: str, watch: Watch) -> None:
    watch.tolerated = ("503",)
    page = open_page(collection=collection)
    filled(page, "notes.txt")
    asked = searches(page)
    refusal = json.dumps({"code": "overloaded", "detail": "too much at once"})

    def refuse(route: Route) -> None:
        route.fulfill(status=503, body=refusal, content_type="application/problem+json")

    page.route("**/search", refuse)
    with page.expect_response("**/search"):
        page.locator("#question").press_sequentially("tortoise", delay=20)
    page.locator("#question").press_sequentially(" burrows", delay=20)
    page.wait_for_timeout(800)
    assert len(asked) == 1
    expect(page.locator("#finds")).to_be_hidden()
