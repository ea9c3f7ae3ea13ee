"""Administration and operations: what admins and operators do and see, and what others are not offered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from page_support import DESKTOP, PHONE, Opened, Watch, file
from page_words import OTHERS, said
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Request, expect
from test_page_accessibility import faults
from test_page_languages import REGIONS, too_wide

from tests.api.conftest import LEASE

pytestmark = pytest.mark.browser


@pytest.fixture
def contexts() -> Iterator[list[BrowserContext]]:
    """Profiles that are closed at the end."""
    made: list[BrowserContext] = []
    yield made
    for each in made:
        each.close()


def signed_in(
    browser: Browser, contexts: list[BrowserContext], origin: str, key: str, **options: Any
) -> Page:
    """The page as the holder of a key sees it."""
    context = browser.new_context(base_url=origin, reduced_motion="reduce", **options)
    context.set_default_timeout(30_000)
    contexts.append(context)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Sign in")).to_be_hidden()
    expect(page.locator("#ask-scope")).not_to_be_empty()
    return page


def open_view(page: Page, view: str) -> None:
    """Open one of the menu's views; on a phone it is below the documents, which are folded once known."""
    expect(page.locator("#menu")).not_to_have_attribute("hidden", "")
    page.wait_for_load_state("networkidle")
    if not page.locator(f"#menu-{view}").is_visible():
        page.locator("#library-toggle").click()
    page.locator(f"#menu-{view}").click()


def administration(page: Page, section: str = "") -> Locator:
    open_view(page, "admin")
    dialog = page.get_by_role("dialog", name="Administration")
    if section:
        dialog.get_by_role("navigation").get_by_role("button", name=section).click()
    return dialog


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_an_admin_makes_keys_lets_people_in_and_sets_webhooks(
    browser: Browser, contexts: list[BrowserContext], guarded: tuple[str, str]
) -> None:
    origin, first = guarded
    httpx.post(f"{origin}/collections", headers=bearer(first), json={"name": "leases"}).raise_for_status()
    page = signed_in(browser, contexts, origin, first, viewport=DESKTOP)
    watch = Watch(origin)
    watch.attach(page)

    # a key, shown once; by the keyboard alone
    expect(page.locator("#menu-admin")).to_be_visible()
    page.locator("#menu-admin").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Administration")
    dialog.get_by_label("What it is for").focus()
    page.keyboard.type("the <b>reading</b> room")
    dialog.get_by_label("Days until it expires").fill("30")
    dialog.get_by_role("group", name=re.compile("^For these")).get_by_label("leases").check()
    assert faults(page) == []
    dialog.get_by_label("What it is for").focus()
    page.keyboard.press("Enter")
    shown = dialog.get_by_label("The secret of the <b>reading</b> room").get_by_role("textbox")
    expect(shown).to_be_focused()
    made = shown.input_value()
    row = dialog.get_by_role("listitem").filter(has_text="reading")
    expect(row).to_contain_text("reader · leases · ")
    expect(row).to_contain_text("never used · expires")
    assert faults(page) == []
    seen = httpx.get(f"{origin}/collections", headers=bearer(made)).json()["collections"]
    assert [each["name"] for each in seen] == ["leases"]
    row.get_by_role("button", name=re.compile("^New secret")).click()
    expect(shown).not_to_have_value(made)
    second = shown.input_value()
    for key in (made, second):  # the one of before is valid for a while
        assert httpx.get(f"{origin}/me", headers=bearer(key)).status_code == 200
    row.get_by_role("button", name=re.compile("^Revoke")).click()
    row.get_by_role("button", name=re.compile("^Really revoke")).click()
    expect(row).to_contain_text("revoked")
    expect(row.get_by_role("button")).to_have_count(0)
    for key in (made, second):
        assert httpx.get(f"{origin}/me", headers=bearer(key)).status_code == 401
    page.keyboard.press("Escape")
    administration(page)
    expect(dialog.get_by_role("listitem").filter(has_text="reading")).to_be_visible()
    assert second not in page.content()

    # people, with roles by collection
    dialog.get_by_role("navigation").get_by_role("button", name="People").click()
    expect(dialog).to_contain_text("Nobody has been entered yet.")
    dialog.get_by_label("E-mail address").fill("ada@example.org")
    dialog.get_by_label("Role in the whole workspace").select_option("reader")
    dialog.get_by_label("leases").select_option("editor")
    dialog.get_by_role("button", name="Save").click()
    ada = dialog.get_by_role("listitem").filter(has_text="ada@example.org")
    expect(ada).to_contain_text("reader · leases: editor")
    assert faults(page) == []
    ada.get_by_role("button", name=re.compile("^Change")).click()
    expect(dialog.get_by_label("leases")).to_have_value("editor")
    dialog.get_by_label("Role in the whole workspace").select_option("admin")
    dialog.get_by_label("leases").select_option("")
    dialog.get_by_role("button", name="Save").click()
    expect(ada).not_to_contain_text("leases")
    expect(ada).to_contain_text("admin")
    ada.get_by_role("button", name=re.compile("^Keep")).click()
    expect(ada).to_contain_text("kept out")
    (member,) = httpx.get(f"{origin}/members", headers=bearer(first)).json()["members"]
    assert (member["role"], member["collections"]) == ("admin", {})
    assert member["user"]["disabled_at"] is not None
    ada.get_by_role("button", name=re.compile("^Let")).click()
    expect(ada).not_to_contain_text("kept out")
    ada.get_by_role("button", name=re.compile("^Remove")).click()
    ada.get_by_role("button", name=re.compile("^Really remove")).click()
    expect(ada).to_contain_text("not in this workspace")
    assert httpx.get(f"{origin}/members", headers=bearer(first)).json()["members"] == []

    # webhooks, and what became of a message
    dialog.get_by_role("navigation").get_by_role("button", name="Webhooks").click()
    watch.tolerated = ("422",)
    dialog.get_by_label("Address").fill("ftp://hooks.invalid/")
    dialog.get_by_role("button", name="Make the webhook").click()
    expect(dialog.get_by_role("status").first).to_be_visible()
    expect(dialog.locator(".view-status")).not_to_have_text("")
    watch.tolerated = ()
    dialog.get_by_label("Address").fill("https://hooks.invalid/longleaf")
    dialog.get_by_role("button", name="Make the webhook").click()
    expect(dialog.get_by_label(re.compile("^The secret that signs")).get_by_role("textbox")).to_have_value(
        re.compile("^whsec_")
    )
    sent = httpx.post(f"{origin}/documents", headers=bearer(first), files={"file": ("a.md", LEASE.encode())})
    assert sent.status_code == 202
    hook = dialog.get_by_role("listitem").filter(has_text="hooks.invalid")
    expect(hook).to_contain_text("all events")
    summary = hook.locator("summary")
    summary.focus()
    page.keyboard.press("Enter")
    message = hook.get_by_role("row").filter(has_text="a document can be asked about")
    for _ in range(60):  # it is read, and then sent in vain
        if message.count() and "to be sent the name" in message.inner_text():
            break
        page.wait_for_timeout(500)
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
    expect(message).to_contain_text("to be sent the name is not known")
    assert faults(page) == []
    message.get_by_role("button", name=re.compile("^Send message")).click()
    expect(dialog.locator(".view-status")).to_have_text("It is sent once more")
    hook.get_by_role("button", name=re.compile("^Disable")).click()
    expect(hook).to_contain_text("disabled: by hand")
    hook.get_by_role("button", name=re.compile("^Let")).click()
    expect(hook).not_to_contain_text("disabled")
    hook.get_by_role("button", name=re.compile("^Delete")).click()
    hook.get_by_role("button", name=re.compile("^Really delete")).click()
    expect(dialog).to_contain_text("There is none yet.")
    page.keyboard.press("Escape")
    expect(page.locator("#menu-admin")).to_be_focused()
    assert watch.faults == []

    # on a phone, in the dark
    small = signed_in(browser, contexts, origin, first, viewport=PHONE, color_scheme="dark")
    for section in ("Keys", "People", "Webhooks", "Feedback"):
        dialog = administration(small, section)
        expect(dialog.get_by_role("region", name=section)).not_to_be_empty()
        assert faults(small) == []
        assert dialog.evaluate("(dialog) => dialog.scrollWidth <= dialog.clientWidth"), section
        small.keyboard.press("Escape")

    # who may not is offered nothing, and an editor what was said of answers alone
    for role, offered in (("reader", []), ("editor", ["Feedback"])):
        key = httpx.post(f"{origin}/keys", headers=bearer(first), json={"name": role, "role": role}).json()
        other = signed_in(browser, contexts, origin, key["key"], viewport=DESKTOP)
        expect(other.locator("#docs li")).to_have_count(1)
        other.wait_for_load_state("networkidle")
        assert other.locator("#menu-admin").is_visible() == bool(offered)
        assert not other.locator("#menu-operations").is_visible()
        if offered:
            dialog = administration(other)
            expect(dialog.get_by_role("navigation").get_by_role("button")).to_have_text(offered)
            expect(dialog).to_contain_text("Nobody has said anything")


def test_where_nobody_is_asked_there_are_no_keys_and_no_people(open_page: Opened) -> None:
    page = open_page()
    dialog = administration(page)
    sections = dialog.get_by_role("navigation").get_by_role("button")
    expect(sections).to_have_text(["Webhooks", "Feedback"])


@pytest.mark.parametrize("language", OTHERS)
def test_the_views_fit_in_every_language(open_page: Opened, language: str) -> None:
    page = open_page(locale=REGIONS[language], viewport=PHONE)
    for view, sections in (("operations", []), ("admin", ["hooks", "feedback"])):
        open_view(page, view)
        dialog = page.get_by_role("dialog", name=said(language, f"{view}.heading"))
        expect(dialog.locator(".view-body")).not_to_be_empty()
        for section in sections:
            dialog.get_by_role("button", name=said(language, f"admin.{section}"), exact=True).click()
            expect(dialog.get_by_role("region")).not_to_be_empty()
            assert too_wide(page) == []
        assert too_wide(page) == []
        assert faults(page) == []
        page.keyboard.press("Escape")


@pytest.mark.parametrize("options", [{"viewport": DESKTOP}, {"viewport": PHONE, "color_scheme": "dark"}])
def test_operations_are_looked_at_while_they_are_seen(
    open_page: Opened, collection: str, server: str, options: dict[str, Any]
) -> None:
    page = open_page(collection=collection, **options)
    page.set_input_files("#files", [file("lease.md", LEASE)])  # type: ignore[list-item]
    expect(page.locator("#docs .is-ready")).to_have_count(1, timeout=60_000)
    asked: list[str] = []

    def note(request: Request) -> None:
        if request.url.endswith("/operations"):
            asked.append(request.url)

    page.on("request", note)
    open_view(page, "operations")
    dialog = page.get_by_role("dialog", name="Operations")
    now = httpx.get(f"{server}/operations").json()
    expect(dialog.get_by_role("region", name="Service")).to_contain_text(now["version"])
    expect(dialog.get_by_role("region", name="Service")).to_contain_text("all ready")
    store = dialog.get_by_role("region", name="Store")
    expect(store).to_contain_text(f"Documents{now['store']['documents']['ready']}")
    expect(dialog.get_by_role("region", name="Disk").get_by_role("meter")).to_be_visible()
    model = dialog.get_by_role("region", name="Language model")
    expect(model).to_contain_text("0 running, 0 waiting")
    expect(model).to_contain_text("Kept on disk")
    # it goes on by itself, and the figures follow
    expect(model).to_contain_text("Written just now0 tokens/s")
    httpx.post(
        f"{server}/documents", files={"file": ("more.md", b"More of it.")}, data={"collection": collection}
    )
    expect(store).to_contain_text(f"Documents{now['store']['documents']['ready'] + 1}", timeout=60_000)
    assert faults(page) == []
    assert dialog.evaluate("(dialog) => dialog.scrollWidth <= dialog.clientWidth")

    # not while nobody sees it, and at once when somebody does again
    page.evaluate(
        "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.wait_for_timeout(500)
    before = len(asked)
    page.wait_for_timeout(5000)
    assert len(asked) == before > 1
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(1000)
    assert len(asked) > before
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.wait_for_timeout(500)
    before = len(asked)
    page.wait_for_timeout(5000)
    assert len(asked) == before
