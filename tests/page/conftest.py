"""A real Chromium on the real server, with everything that a page must never do watched in every test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from page_support import DESKTOP, Opened, Watch
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from bench.page import chromium
from tests.api.providers import CLIENT, SECRET, real_provider

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
START_SECONDS = 300


def _required() -> bool:
    return os.environ.get("LONGLEAF_REQUIRE_BROWSER") == "1" or os.environ.get("CI") == "true"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium (or what CHROMIUM names), else playwright's own, else a skip or failure."""
    path = chromium()
    with sync_playwright() as playwright:
        try:
            launched = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        except PlaywrightError as error:
            first_line = str(error).splitlines()[0]
            reason = f"no Chromium could be started ({path or 'playwright has none'}): {first_line}"
            if _required():
                pytest.fail(reason)
            pytest.skip(reason)
        yield launched
        launched.close()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(folder: Path, **more: str) -> Iterator[str]:
    """Origin of a real server with a data folder of its own, models loaded."""
    port = more.get("LONGLEAF_PORT") or str(free_port())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LONGLEAF_")}
    environment |= {"LONGLEAF_DATA_DIR": str(folder / "data"), "LONGLEAF_PORT": port, **more}
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "api", "serve"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
        origin = f"http://127.0.0.1:{port}"
        try:
            _wait_until_ready(origin, process, folder / "log")
            yield origin
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the server."""
    return tmp_path_factory.mktemp("page") / "data"


@pytest.fixture(scope="session")
def server(data_folder: Path) -> Iterator[str]:
    """Origin of the server that most tests share; it asks nobody."""
    with started(data_folder.parent) as origin:
        yield origin


@pytest.fixture
def empty_server(tmp_path: Path) -> Iterator[str]:
    """Origin of a server that has no document yet."""
    with started(tmp_path) as origin:
        yield origin


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Origin of a server that asks for keys, and its first one."""
    with started(tmp_path, LONGLEAF_AUTH="on") as origin:
        yield origin, (tmp_path / "data" / "first-admin-key").read_text().strip()


@pytest.fixture
def company(tmp_path: Path) -> Iterator[str]:
    """Origin of a server whose people sign in with a provider: `ada` is let in, `eve` is not."""
    port = str(free_port())
    public = f"http://localhost:{port}"  # another site than the provider's, as in life
    accounts = {
        "ada": {"email": "ada@example.org", "email_verified": True, "name": "Ada"},
        "eve": {"email": "eve@elsewhere.org", "email_verified": True, "name": "Eve"},
    }
    with (
        real_provider(accounts, public) as issuer,
        started(
            tmp_path,
            LONGLEAF_AUTH="on",
            LONGLEAF_PORT=port,
            LONGLEAF_PUBLIC_URL=public,
            LONGLEAF_OIDC_ISSUER=issuer,
            LONGLEAF_OIDC_CLIENT_ID=CLIENT,
            LONGLEAF_OIDC_CLIENT_SECRET=SECRET,
            LONGLEAF_OIDC_GRANTS="@example.org=default:editor",
        ),
    ):
        yield public


def _wait_until_ready(origin: str, process: subprocess.Popen[bytes], log: Path) -> None:
    state = "no answer"
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            answer = httpx.get(f"{origin}/readyz")
        except httpx.TransportError:
            time.sleep(0.1)
            continue
        if answer.status_code == 200:
            return
        state = answer.text
        time.sleep(0.1)
    pytest.fail(f"the server is not ready ({state}):\n{log.read_text()[-3000:]}")


@pytest.fixture
def watch(server: str) -> Iterator[Watch]:
    """Fails the test at its end for every fault; `tolerated` names console texts that a test brings about."""
    watching = Watch(server)
    yield watching
    assert watching.faults == []


@pytest.fixture
def open_page(browser: Browser, server: str, watch: Watch) -> Iterator[Opened]:
    """Opens the page in a fresh profile: `open_page(collection="name", viewport=…, color_scheme=…)`."""
    contexts: list[BrowserContext] = []

    def opened(
        *, collection: str = "default", before: Callable[[Page], None] | None = None, **options: Any
    ) -> Page:
        options.setdefault("viewport", DESKTOP)
        options.setdefault("reduced_motion", "reduce")
        context = browser.new_context(**options)
        context.set_default_timeout(30_000)
        contexts.append(context)
        context.add_init_script(
            "document.addEventListener('securitypolicyviolation', (e) => console.error('CSP', e.blockedURI));"
            f"localStorage.setItem('longleaf.collection', '{collection}')"
        )
        page = context.new_page()
        watch.attach(page)
        if before:
            before(page)
        page.goto(server)
        # not by wait_for_function: to ask again it evaluates text, which the page's policy forbids
        expect(page.locator("#ask-scope")).not_to_have_text("")
        if collection != "default":
            expect(page.locator("#collection")).to_have_value(collection)
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def collection(server: str, request: pytest.FixtureRequest) -> str:
    """A new, empty collection named after the test."""
    name = request.node.name.replace("[", "-").replace("]", "")
    httpx.post(f"{server}/collections", json={"name": name}).raise_for_status()
    return name
