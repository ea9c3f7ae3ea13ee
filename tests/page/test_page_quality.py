"""What audits of a page look at, on a first visit with nothing cached. Seconds are for `bench.page`."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Browser

from bench.page import GOALS, load

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("viewport", [(1280, 800), (360, 640)])
def test_a_first_visit_is_light_and_still(
    browser: Browser, empty_server: str, viewport: tuple[int, int]
) -> None:
    seen = [load(browser, empty_server, viewport)]
    httpx.post(f"{empty_server}/documents", files={"file": ("a.txt", b"A note.")}).raise_for_status()
    seen.append(load(browser, empty_server, viewport))
    for visit in seen:
        assert [check for check, held in visit["checks"].items() if not held] == []
        assert visit["shift"] <= GOALS["shift"][1]
        assert visit["kib"] <= GOALS["kib"][1]
