"""A browser at a service that asks for keys: it signs in once, and everything on the page works."""

from __future__ import annotations

import pytest
from page_support import file
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.browser


def test_a_key_is_typed_once(guarded: tuple[str, str], browser: Browser) -> None:
    origin, key = guarded
    context = browser.new_context(base_url=origin)
    page = context.new_page()
    page.goto("/")
    dialog = page.get_by_role("dialog", name="Sign in")
    expect(dialog).to_be_visible()
    field = dialog.get_by_label("API key")
    field.fill("llf_wrong")
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog.get_by_role("alert")).to_contain_text("not valid")
    field.fill(key)
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#collection")).to_contain_text("default")
    page.set_input_files("#files", [file("lease.txt", "The rent is 41,300 guilders a year.")])
    expect(page.locator("#docs")).to_contain_text("1 passage", timeout=60_000)
    page.reload()
    expect(page.get_by_role("button", name="lease", exact=True)).to_be_visible()
    assert page.evaluate("document.cookie") == ""
    assert key not in page.content()
    context.close()
