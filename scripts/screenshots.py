"""Take the pictures of the page in docs/images/ anew: real documents, a real answer, a real Chromium.

Starts a service with a data folder of its own and uploads the documents of demo/documents. `--into` names
another folder for the pictures.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from demo import DOCUMENTS, ROOT, own_service
from ensure_chromium import find

QUESTIONS = (
    "How many pounds a week did the Red-Headed League pay?",
    "How many characters must a memorized secret have if the subscriber chooses it?",
    "What is command code BMFOR for?",
)
LARGEST_BYTES = 300_000
DESKTOP = {"width": 1360, "height": 850}
PHONE = {"width": 390, "height": 780}


@contextmanager
def opened(browser: Browser, base: str, **options: Any) -> Iterator[Page]:
    """The page in a fresh profile, without motion."""
    context = browser.new_context(reduced_motion="reduce", **options)
    page = context.new_page()
    page.goto(base)
    yield page
    context.close()


def ask(page: Page, question: str) -> None:
    """Ask and wait for the end of the answer."""
    page.fill("#question", question)
    page.keyboard.press("Enter")
    expect(page.locator(".turn").first).not_to_have_class(re.compile("is-running"), timeout=300_000)


def read_first_quote(page: Page) -> None:
    """Open the first quote of the newest answer where it stands."""
    page.locator(".quote-open").first.click()
    expect(page.locator("#reader mark").first).to_be_visible()


def shot(page: Page, folder: Path, name: str) -> Path:
    """Take one picture."""
    path = folder / f"{name}.png"
    page.screenshot(path=path)
    return path


def take(browser: Browser, base: str, folder: Path) -> Iterator[Path]:
    """Take the pictures one after the other."""
    files = sorted(path for path in DOCUMENTS.iterdir() if path.name != "README.md")
    with opened(browser, base, viewport=DESKTOP) as page:
        page.set_input_files("#files", files)
        expect(page.locator("#docs .is-ready")).to_have_count(len(files), timeout=300_000)
        ask(page, QUESTIONS[0])
        read_first_quote(page)
        page.mouse.move(700, 840)
        yield shot(page, folder, "page-light")
        page.keyboard.press("Escape")
        ask(page, QUESTIONS[2])
        page.locator(".turn").first.locator(".quote-open").first.click()
        expect(page.locator("#reader .sheet rect").first).to_be_in_viewport()
        page.wait_for_function("() => document.querySelector('#reader .sheet img').naturalWidth > 0")
        page.mouse.move(700, 840)
        yield shot(page, folder, "page-picture")
    with opened(browser, base, viewport=DESKTOP, color_scheme="dark") as page:
        expect(page.locator("#docs .is-ready")).to_have_count(len(files))
        ask(page, QUESTIONS[1])
        page.locator("summary").first.click()
        yield shot(page, folder, "page-dark")
    with opened(
        browser, base, viewport=PHONE, is_mobile=True, has_touch=True, device_scale_factor=1.5
    ) as page:
        expect(page.locator("#ask-scope")).to_contain_text("3 documents")
        ask(page, QUESTIONS[0])
        page.locator("body").tap(position={"x": 4, "y": 4})
        yield shot(page, folder, "page-phone")


def take_views(browser: Browser, base: str, folder: Path) -> Iterator[Path]:
    """Take the pictures of the views that are fetched when they are opened, after those of `take`."""
    with opened(browser, base, viewport=DESKTOP) as page:
        expect(page.locator("#ask-scope")).to_contain_text("3 documents")
        ask(page, QUESTIONS[1])
        judged = page.get_by_role("group", name="Was this right?")
        judged.get_by_role("button", name="No", exact=True).click()
        judged.get_by_role("textbox").fill("The first quote says it; the last one is beside the point.")
        judged.get_by_role("checkbox").last.check()
        judged.get_by_role("button", name="Save").click()
        expect(judged.get_by_role("status")).to_have_text("Kept.")
        page.get_by_role("button", name="Compare").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Kind of answer").select_option("quotes")
        dialog.get_by_label("Tokens to be read at most").fill("512")
        dialog.get_by_role("button", name="Ask and compare").click()
        expect(dialog.get_by_role("table")).to_be_visible(timeout=300_000)
        dialog.get_by_label("Only documents with").scroll_into_view_if_needed()
        dialog.get_by_role("region", name="Second answer").scroll_into_view_if_needed()
        yield shot(page, folder, "page-compare")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Administration").click()
        dialog.get_by_role("navigation").get_by_role("button", name="Feedback").click()
        dialog.locator("summary").first.click()
        expect(dialog.locator(".said-of blockquote").first).to_be_visible()
        yield shot(page, folder, "page-admin")
    with opened(browser, base, viewport=DESKTOP, color_scheme="dark") as page:
        page.get_by_role("button", name="Operations").click()
        expect(page.get_by_role("dialog")).to_contain_text("Written just now")
        yield shot(page, folder, "page-operations")


def main() -> int:
    """Take all pictures; 1 when there is no Chromium or a picture is too large."""
    parser = argparse.ArgumentParser(description="Take the pictures of the page in docs/images anew.")
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "images", help="folder of the pictures")
    folder = parser.parse_args().into
    path = find()
    if path is None:
        print("No Chromium: install the package `chromium` and try again.", file=sys.stderr)
        return 1
    too_large = False
    with own_service() as service, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--hide-scrollbars"])
        for picture in chain(take(browser, service.base, folder), take_views(browser, service.base, folder)):
            size = picture.stat().st_size
            too_large |= size > LARGEST_BYTES
            print(f"{picture} {size:,} bytes")
        browser.close()
    return int(too_large)


if __name__ == "__main__":
    raise SystemExit(main())
