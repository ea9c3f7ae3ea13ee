"""A document that changes, and a collection that gets another embedder, as a person sees them."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path

import httpx
import pytest
from page_support import Opened, Watch, file
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser

LEASE = "The yearly rent of the mill is 41,300 guilders, due in May."
RAISED = LEASE.replace("41,300", "52,700")


def row(page: Page, name: str) -> Locator:
    return page.locator("#docs .doc", has_text=name)


def opened(page: Page, name: str) -> Locator:
    """The dialog about a document."""
    line = row(page, name)
    line.hover()
    line.get_by_role("button", name=f"About {name}").click()
    dialog = page.locator("#about")
    expect(dialog).to_be_visible()
    expect(page.locator("#about-title")).to_have_text(name)
    return dialog


def filled(open_page: Opened, collection: str) -> Page:
    page = open_page(collection=collection)
    page.set_input_files("#files", [file("lease.txt", LEASE)])  # type: ignore[list-item]
    expect(page.locator("#docs .is-ready")).to_have_count(1, timeout=60_000)
    return page


def listed(server: str, collection: str) -> dict[str, object]:
    found = httpx.get(f"{server}/documents", params={"collection": collection}).json()["documents"]
    assert len(found) == 1
    return dict(found[0])


def test_a_file_is_replaced_and_its_versions_are_shown(
    open_page: Opened, collection: str, server: str
) -> None:
    page = filled(open_page, collection)
    page.evaluate(
        """() => {
          window.seen = [];
          const docs = document.querySelector("#docs");
          new MutationObserver(() => {
            for (const line of docs.querySelectorAll(".doc-newer:not([hidden])"))
              window.seen.push(line.textContent);
          }).observe(docs, { subtree: true, childList: true, characterData: true, attributes: true });
        }"""
    )
    dialog = opened(page, "lease")
    expect(dialog.locator("#about-versions li")).to_have_count(1)
    expect(dialog.locator("#about-versions .is-live")).to_contain_text("lease.txt")
    with page.expect_file_chooser() as chooser:
        dialog.get_by_role("button", name="Replace the file…").click()
    chooser.value.set_files([file("raised.txt", RAISED)])  # type: ignore[list-item]
    expect(dialog.locator("#about-status")).to_contain_text("the present one answers until it is ready")
    expect(dialog.locator("#about-versions li")).to_have_count(2, timeout=60_000)
    expect(dialog.locator("#about-versions .is-live")).to_contain_text("raised.txt", timeout=60_000)
    expect(dialog.locator("#about-versions li").nth(1)).to_contain_text("replaced")
    assert any(text.startswith("New version: ") for text in page.evaluate("window.seen"))
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(row(page, "raised").get_by_role("button", name="About raised")).to_be_focused()
    assert listed(server, collection)["generation"] == 2

    dialog = opened(page, "raised")
    with page.expect_file_chooser() as chooser:
        dialog.get_by_role("button", name="Replace the file…").click()
    chooser.value.set_files([file("raised.txt", RAISED)])  # type: ignore[list-item]
    expect(dialog.locator("#about-status")).to_contain_text("answers already")


def test_a_new_version_that_can_not_be_read_leaves_the_old_one(open_page: Opened, collection: str) -> None:
    page = filled(open_page, collection)
    dialog = opened(page, "lease")
    with page.expect_file_chooser() as chooser:
        dialog.get_by_role("button", name="Replace the file…").click()
    chooser.value.set_files([file("lease.pdf", b"%PDF-1.7\n garbage", "application/pdf")])  # type: ignore[list-item]
    expect(dialog.locator("#about-versions .problem")).to_contain_text("The file is damaged", timeout=60_000)
    expect(dialog.locator("#about-versions .is-live")).to_contain_text("lease.txt")
    page.keyboard.press("Escape")
    line = row(page, "lease")
    expect(line).to_have_class(re.compile("is-ready"))
    expect(line.locator(".doc-newer")).to_contain_text("The new version can't be read")
    line.hover()
    expect(line.get_by_role("button", name="Try lease again")).to_be_visible()


def test_metadata_is_edited(open_page: Opened, collection: str, server: str) -> None:
    page = filled(open_page, collection)
    identity = listed(server, collection)["id"]
    stored = {"year": 2021, "team": "legal", "code": "007", "number": "12", "more": {"a": 1, "b": 2}}
    httpx.patch(f"{server}/documents/{identity}", json={"metadata": stored}).raise_for_status()
    page.reload()
    dialog = opened(page, "lease")
    expect(dialog.get_by_label("Value of code")).to_have_value("007")
    expect(dialog.get_by_label("Value of number")).to_have_value('"12"')
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.locator("#about-status")).to_have_text("Saved")
    assert listed(server, collection)["metadata"] == stored
    dialog.get_by_label("Value of year").fill("2024")
    dialog.get_by_label("Value of more").fill('{"b": 3}')
    dialog.get_by_role("button", name="Remove team").click()
    dialog.get_by_role("button", name="Add a line").click()
    expect(dialog.get_by_label("Name").last).to_be_focused()
    page.keyboard.type("title")
    page.keyboard.press("Tab")
    page.keyboard.type("The mill's lease")
    page.keyboard.press("Enter")
    expect(page.locator("#about-title")).to_have_text("The mill's lease")
    assert listed(server, collection)["metadata"] == {
        "year": 2024,
        "code": "007",
        "number": "12",
        "more": {"b": 3},
        "title": "The mill's lease",
    }
    page.keyboard.press("Escape")
    expect(row(page, "The mill's lease")).to_be_visible()


def test_metadata_that_can_not_be_kept_says_so(open_page: Opened, collection: str, watch: Watch) -> None:
    watch.tolerated = ("422",)
    page = filled(open_page, collection)
    dialog = opened(page, "lease")
    dialog.get_by_role("button", name="Add a line").click()
    page.keyboard.type("deep")
    dialog.get_by_label("Value", exact=True).fill("[" * 12 + "]" * 12)
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.locator("#about-problem")).to_contain_text("levels")


def test_a_collection_that_is_being_indexed_anew_shows_how_far_it_is(
    open_page: Opened, collection: str, server: str, data_folder: Path
) -> None:
    page = filled(open_page, collection)
    expect(page.locator("#collection-coming")).to_be_hidden()

    def write(statement: str, *values: object) -> None:
        with sqlite3.connect(data_folder / "longleaf.db", timeout=30) as database:
            database.execute(statement, values)

    identity = next(
        each["id"]
        for each in httpx.get(f"{server}/collections").json()["collections"]
        if each["name"] == collection
    )
    write("UPDATE collections SET next_embedder = 'another@1' WHERE id = ?", identity)
    shown = httpx.get(f"{server}/collections/{collection}").json()["reembedding"]
    assert shown == {"embedder": "another@1", "chunks_done": 0, "chunks_total": 1}
    expect(page.locator("#collection-coming-text")).to_contain_text("0 of 1 passage", timeout=30_000)
    write(
        "INSERT INTO next_vectors (chunk_id, collection_id, embedder, vector) "
        "SELECT id, collection_id, 'another@1', ? FROM chunks WHERE collection_id = ?",
        os.urandom(16),
        identity,
    )
    expect(page.locator("#collection-coming-text")).to_contain_text("1 of 1 passage", timeout=30_000)
    write("DELETE FROM next_vectors")
    write("UPDATE collections SET next_embedder = NULL")
    expect(page.locator("#collection-coming")).to_be_hidden(timeout=30_000)
