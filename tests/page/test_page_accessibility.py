"""axe-core over the states of the page: empty, filled, answered, reading; wide and narrow, light and dark."""

from __future__ import annotations

import re
from typing import Any

import pytest
from page_support import DESKTOP, PHONE, Opened, file
from playwright.sync_api import Page, expect

axe_playwright_python = pytest.importorskip("axe_playwright_python.sync_playwright")
pytestmark = pytest.mark.browser

TEXT = "The gopher tortoise digs burrows that are up to twelve metres long."


def faults(page: Page) -> list[str]:
    found = axe_playwright_python.Axe().run(page, options={"resultTypes": ["violations"]})
    return [
        f"{violation['id']}: {node['html'][:160]}"
        for violation in found.response["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("options", [{"viewport": DESKTOP}, {"viewport": PHONE, "color_scheme": "dark"}])
def test_axe_finds_nothing(open_page: Opened, collection: str, options: dict[str, Any]) -> None:
    page = open_page(collection=collection, **options)
    assert faults(page) == []
    page.set_input_files("#files", [file("notes.txt", TEXT), file("nothing.txt", "")])  # type: ignore[list-item]
    expect(page.locator("#docs .is-ready")).to_have_count(1, timeout=60_000)
    page.fill("#question", "How long are the burrows of the gopher tortoise?")
    page.keyboard.press("Enter")
    expect(page.locator(".turn")).not_to_have_class(re.compile("is-running"), timeout=90_000)
    page.locator("summary").click()
    assert faults(page) == []
    page.locator(".quote-open").first.click()
    expect(page.locator("#reader mark")).to_be_visible()
    assert faults(page) == []
    page.keyboard.press("Escape")
    if page.locator("#library-toggle").is_visible() and not page.locator("#library").is_visible():
        page.locator("#library-toggle").click()
    line = page.locator("#docs .is-ready")
    line.hover()
    line.get_by_role("button", name=re.compile("^About")).click()
    expect(page.locator("#about-versions li")).to_have_count(1)
    page.get_by_role("button", name="Add a line").click()
    assert faults(page) == []
    page.keyboard.press("Escape")
    if not page.locator("#talks-open").is_visible():
        page.locator("#library-toggle").click()
    page.get_by_role("button", name="Conversations").click()
    expect(page.locator("#talks-list li").first).to_be_visible()
    assert faults(page) == []
    page.get_by_role("button", name=re.compile("^Rename")).first.click()
    assert faults(page) == []
