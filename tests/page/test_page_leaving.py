"""A page that is left while files are on their way to the server asks first; otherwise it lets people go."""

from __future__ import annotations

import pytest
from page_support import Opened, file
from playwright.sync_api import Dialog, Route, expect

pytestmark = pytest.mark.browser


def test_files_on_their_way_are_not_lost_unasked(open_page: Opened, collection: str) -> None:
    page = open_page(collection=collection)
    held: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.method == "POST":
            held.append(route)
        else:
            route.continue_()

    page.route("**/documents", hold)
    page.set_input_files("#files", [file("notes.txt", "Pines need fire.")])  # type: ignore[list-item]
    expect(page.locator("#uploads .doc")).to_have_count(1)
    page.locator("#question").click()  # browsers ask only where something was touched
    kinds: list[str] = []

    def stay(dialog: Dialog) -> None:
        kinds.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    with page.expect_event("dialog"):
        page.evaluate("() => { location.reload(); }")
    expect(page.locator("#uploads .doc")).to_have_count(1)
    assert kinds == ["beforeunload"]
    held[0].continue_()
    expect(page.locator("#docs .is-ready")).to_have_count(1, timeout=60_000)
    with page.expect_event("load"):
        page.evaluate("() => { location.reload(); }")
    assert kinds == ["beforeunload"]
