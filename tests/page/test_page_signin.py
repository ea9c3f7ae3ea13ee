"""A browser at a service that asks for keys: it signs in once, and everything on the page works."""

from __future__ import annotations

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from page_support import file
from page_words import said
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

    # and out again: the cookie is worth nothing any more, wherever it was copied to
    [cookie] = context.cookies()
    page.get_by_role("button", name="Sign out").click()
    expect(dialog).to_be_visible()
    assert context.cookies() == []
    assert "lease" not in page.locator("body").inner_text()
    copied = httpx.get(f"{origin}/documents", cookies={cookie["name"]: cookie["value"]})
    assert copied.status_code == 401
    context.close()


def test_the_language_is_chosen_where_one_signs_in(guarded: tuple[str, str], browser: Browser) -> None:
    origin, _ = guarded
    context = browser.new_context(base_url=origin, locale="nl-NL")
    page = context.new_page()
    page.goto("/")
    page.get_by_role("dialog", name="Sign in").get_by_role("combobox", name="Language").select_option("fr")
    dialog = page.get_by_role("dialog", name=said("fr", "signin.heading"))
    dialog.get_by_label(said("fr", "signin.key")).fill("llf_wrong")
    dialog.get_by_role("button", name=said("fr", "signin.go")).click()
    problem = dialog.get_by_role("alert")
    expect(problem).to_contain_text(said("fr", "problem.invalid_key"))
    expect(problem.locator("[lang=en]")).to_contain_text("not valid")
    assert Axe().run(page).violations_count == 0
    context.close()


def test_people_sign_in_with_their_companys_provider(company: str, browser: Browser) -> None:
    context = browser.new_context(base_url=company)
    page = context.new_page()
    dialog = page.get_by_role("dialog", name="Sign in")

    def sign_in(login: str) -> None:
        dialog.get_by_role("link", name="Sign in with 127.0.0.1").click()
        page.locator("input[name=login]").fill(login)
        page.locator("input[name=password]").fill("any")
        page.get_by_role("button", name="Sign-in").click()
        page.get_by_role("button", name="Continue").click()
        page.wait_for_url(f"{company}/**")

    page.goto("/")
    expect(dialog.get_by_role("link", name="Sign in with 127.0.0.1")).to_be_visible()
    assert Axe().run(page).violations_count == 0
    sign_in("eve")
    expect(dialog.get_by_role("alert")).to_contain_text("not admitted")
    assert page.url == f"{company}/"
    context.clear_cookies()
    page.goto("/")
    sign_in("ada")
    expect(page.locator("#collection")).to_contain_text("default")
    expect(dialog).to_be_hidden()
    page.set_input_files("#files", [file("lease.txt", "The rent is 41,300 guilders a year.")])
    expect(page.locator("#docs")).to_contain_text("1 passage", timeout=60_000)
    assert page.evaluate("document.cookie") == ""

    # a link to a conversation survives the way to the provider, a refusal there included
    page.fill("#question", "How much is the rent?")
    page.keyboard.press("Enter")
    expect(page.locator(".turn .quote").first).to_contain_text("41,300", timeout=90_000)
    link = context.request.get("/conversations").json()["conversations"][0]["id"]
    context.clear_cookies()
    page.goto(f"/#conversation={link}")
    page.reload()
    expect(page.locator(".turn")).to_have_count(0)
    sign_in("eve")
    expect(dialog.get_by_role("alert")).to_contain_text("not admitted")
    context.clear_cookies()
    page.reload()
    sign_in("ada")
    expect(page.locator(".turn .quote").first).to_contain_text("41,300", timeout=30_000)

    # who signs out is signed out at the provider as well: it asks for the name again
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Yes, sign me out").click()
    page.wait_for_url(f"{company}/")
    dialog.get_by_role("link", name="Sign in with 127.0.0.1").click()
    expect(page.locator("input[name=login]")).to_be_visible()
    context.close()
