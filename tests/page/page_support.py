"""What the page's tests share: window sizes, files to drop, and the watch over a page's conduct."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Page

DESKTOP = {"width": 1360, "height": 860}
PHONE = {"width": 360, "height": 740}
Opened = Callable[..., Page]


class Watch:
    """What a page did that it must not do: foreign requests, errors, violations of its own policy."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.faults: list[str] = []
        self.tolerated: tuple[str, ...] = ()

    def attach(self, page: Page) -> None:
        page.on("request", lambda request: self._request(request.url))
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("console", self._console)

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        if f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.faults.append(f"request to {url}")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(part in message.text for part in self.tolerated):
            self.faults.append(f"{message.type}: {message.text}")


def file(name: str, content: str | bytes, kind: str = "text/plain") -> dict[str, Any]:
    """One file for `set_input_files`."""
    return {
        "name": name,
        "mimeType": kind,
        "buffer": content.encode() if isinstance(content, str) else content,
    }
