"""How soon the page is there, what it loads, and the checks that audits make: python -m bench.page

A server of its own and a Chromium (the system's, or what CHROMIUM names), each load in a fresh profile with
nothing cached. First and largest contentful paint, layout shift and blocking time are as the browser's
performance timeline tells them (W3C Paint Timing, Largest Contentful Paint, Layout Instability, Long Tasks);
bounds besides ours are those that web.dev calls good. Ends with 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Request, sync_playwright

from bench.updates import Server

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
GOALS = {
    "first": ("first contentful paint, ms", 1000.0),
    "largest": ("largest contentful paint, ms", 2500.0),
    "shift": ("layout shift", 0.1),
    "blocked": ("blocking time, ms", 200.0),
    "kib": ("KiB loaded", 200.0),
}
"""What a load is measured by: its name, and the most that it may be."""
OBSERVE = """
window.seen = {shift: 0, blocked: 0, largest: 0};
const observe = (type, take) =>
  new PerformanceObserver((list) => list.getEntries().forEach(take)).observe({type, buffered: true});
observe("layout-shift", (entry) => { if (!entry.hadRecentInput) window.seen.shift += entry.value; });
observe("longtask", (entry) => { window.seen.blocked += Math.max(0, entry.duration - 50); });
observe("largest-contentful-paint", (entry) => { window.seen.largest = entry.startTime; });
"""
READ = """() => {
  const loaded = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  const head = (selector, name) => (document.querySelector(selector)?.[name] ?? "").trim().length > 0;
  return {
    ...window.seen,
    first: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Infinity,
    kib: loaded.reduce((sum, entry) => sum + entry.transferSize, 0) / 1024,
    files: loaded.length,
    checks: {
      "a title": document.title.trim().length > 0,
      "a language": head("html", "lang"),
      "a description": head("meta[name=description]", "content"),
      "a viewport": head("meta[name=viewport]", "content"),
      "one main heading": document.querySelectorAll("h1").length === 1,
      "a main landmark": document.querySelectorAll("main").length === 1,
      "no script that blocks":
        [...document.scripts].every((script) => script.type === "module" || script.async || script.defer),
      "no content wider than the window": document.documentElement.scrollWidth <= window.innerWidth,
      "ids that are there once": new Set([...document.querySelectorAll("[id]")].map((each) => each.id)).size
        === document.querySelectorAll("[id]").length,
    },
  };
}"""


def chromium() -> str | None:
    """Path of the Chromium that CHROMIUM names or the system has; None for playwright's own."""
    return os.environ.get("CHROMIUM") or next(
        (found for name in NAMES if (found := shutil.which(name))), None
    )


def load(browser: Browser, origin: str, viewport: tuple[int, int]) -> dict[str, Any]:
    """Load the page once with nothing cached, and say what the browser saw."""
    context = browser.new_context(viewport={"width": viewport[0], "height": viewport[1]})
    page = context.new_page()
    foreign: list[str] = []
    errors: list[str] = []

    def requested(request: Request) -> None:
        if not request.url.startswith(origin):
            foreign.append(request.url)

    def said(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    page.on("request", requested)
    page.on("console", said)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("requestfailed", lambda request: errors.append(request.url))
    page.add_init_script(OBSERVE)
    page.goto(origin, wait_until="networkidle")
    seen: dict[str, Any] = page.evaluate(READ)
    context.close()
    seen["checks"] |= {"nothing of other hosts": not foreign, "no error": not errors}
    return seen


def shown(name: str, loads: list[dict[str, Any]]) -> list[str]:
    """Print the rows of one window's loads; return what was missed."""
    print(f"\n{name}, {loads[0]['files']} files".ljust(37) + f"{'found':>9}{'goal':>9}")
    missed = []
    for key, (what, most) in GOALS.items():
        value = statistics.median(each[key] for each in loads)
        print(
            f"{what:36}{value:9.{3 if value < 1 else 0}f}{most:9g}    {'pass' if value <= most else 'FAIL'}"
        )
        missed += [] if value <= most else [what]
    wrong = sorted({check for each in loads for check, held in each["checks"].items() if not held})
    checks = len(loads[0]["checks"])
    print(f"{'other checks':36}{checks - len(wrong):9}{checks:9}    {', '.join(wrong) or 'pass'}")
    return missed + wrong


def main() -> None:
    """Start a server, load its page, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--loads", type=int, default=9)
    given = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(Path(folder))
        try:
            browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
            origin = str(server.client.base_url).rstrip("/")
            print(f"{platform.machine()}, {os.cpu_count()} cores, Chromium {browser.version}")
            for name, viewport in (("1280 x 800", (1280, 800)), ("360 x 640", (360, 640))):
                missed += shown(name, [load(browser, origin, viewport) for _ in range(given.loads)])
            browser.close()
        finally:
            server.stop()
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
