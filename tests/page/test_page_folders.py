"""Whole folders, chosen or dropped as a file manager does it: each file once, hidden ones not."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import httpx
import pytest
from page_support import Opened
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a folder in it, and a file that is hidden."""
    root = tmp_path / "manuals"
    (root / "pumps").mkdir(parents=True)
    (root / "first.txt").write_text("The first pump is older than the mill.")
    (root / "pumps" / "second.md").write_text("# Second\n\nThe second pump came in 1931.")
    (root / ".hidden.txt").write_text("Nobody meant this.")
    return root


def dropped(page: Page, folder: Path) -> None:
    """Drop the folder, as entries of a file system; scripts can't make those."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 300, "data": data})


@pytest.mark.parametrize("way", ["chosen", "dropped"])
def test_a_folder_brings_its_files(
    open_page: Opened, collection: str, server: str, folder: Path, way: Literal["chosen", "dropped"]
) -> None:
    page = open_page(collection=collection)
    if way == "chosen":
        page.set_input_files("#folder", folder)
    else:
        dropped(page, folder)
    expect(page.locator("#docs .is-ready")).to_have_count(2, timeout=60_000)
    held = httpx.get(f"{server}/documents", params={"collection": collection}).json()["documents"]
    assert sorted(each["filename"] for each in held) == ["first.txt", "second.md"]
    assert sorted(each["metadata"]["path"] for each in held) == [
        "manuals/first.txt",
        "manuals/pumps/second.md",
    ]
