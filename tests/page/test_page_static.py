"""What can be said of the page's files without a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "api" / "page"
FILES = sorted(path for path in PAGE.rglob("*") if path.is_file())
ASSETS = PAGE / "assets"
CATALOGS = {path for path in FILES if path.parent == ASSETS / "words"}
LATER_CATALOGS = {path for path in FILES if path.parent == ASSETS / "words" / "views"}
LARGEST_PAGE = 200_000
LARGEST_VIEWS = 100_000
"""Of what is fetched only when a view is opened, all views together."""


class _Markup(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.referenced: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        for name, value in attrs:
            if name.startswith("on") or name == "style" or (value or "").startswith("javascript:"):
                self.inline.append(f"{tag} {name}")
            if name in {"src", "href", "action"} and value and not value.startswith("#"):
                self.referenced.append(value)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"script", "style"} and data.strip():
            self.inline.append(self.open[-1])

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass


def _markup() -> _Markup:
    markup = _Markup()
    markup.feed((PAGE / "index.html").read_text())
    return markup


def test_nothing_is_inline() -> None:
    assert _markup().inline == []


def test_every_reference_is_a_file_of_the_page() -> None:
    referenced = _markup().referenced
    assert len(referenced) >= 6
    for reference in referenced:
        path, _, symbol = reference.partition("#")
        text = (PAGE / path).read_text()
        assert not symbol or f'id="{symbol}"' in text, reference


def _imported(text: str) -> set[str]:
    """Modules that come with one."""
    return set(re.findall(r'^import .* from "\./([^"]+)";$', text, re.M))


def _fetched_later() -> set[Path]:
    """Modules and styles that only the opening of a view brings."""
    modules = {path.name: path for path in FILES if path.suffix == ".js"}
    at_start, ahead = set[str](), ["main.js"]
    while ahead:
        name = ahead.pop()
        if name not in at_start:
            at_start.add(name)
            ahead += _imported(modules[name].read_text())
    styles = set(re.findall(r'href="assets/(\w+\.css)"', (PAGE / "index.html").read_text()))
    return {path for name, path in modules.items() if name not in at_start} | {
        path for path in FILES if path.suffix == ".css" and path.name not in styles
    }


def test_every_module_is_imported_and_there() -> None:
    modules = {path.name: path.read_text() for path in FILES if path.suffix == ".js"}
    imported = {name for text in modules.values() for name in _imported(text)}
    opened = {name for text in modules.values() for name in re.findall(r'import\("\./([^"]+)"\)', text)}
    assert imported | opened | {"main.js"} == set(modules)
    assert {(ASSETS / name) for name in opened} <= _fetched_later()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_markup_from_text_and_no_foreign_address(path: Path) -> None:
    text = path.read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|"
        r"createContextualFragment|srcdoc|setHTMLUnsafe",
        text,
    )
    assert set(re.findall(r"https?://[^\s\"')]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_the_page_is_small() -> None:
    """A browser loads every file but the catalogs and what views bring, and one of the catalogs."""

    def size(paths: set[Path]) -> int:
        return sum(path.stat().st_size for path in paths)

    def largest(paths: set[Path]) -> int:
        return max(path.stat().st_size for path in paths)

    later = _fetched_later()
    assert size(set(FILES) - CATALOGS - LATER_CATALOGS - later) + largest(CATALOGS) <= LARGEST_PAGE
    assert size(later) + largest(LATER_CATALOGS) <= LARGEST_VIEWS


def _colours() -> list[dict[str, str]]:
    css = (PAGE / "assets" / "base.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\n\s*\}", css, re.S)
    found = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part)) for part in (light, dark)]
    assert set(found[0]) == set(found[1])
    return found


def _luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2, definition of the same name)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_edges_have_contrast(scheme: int) -> None:
    colours = _colours()[scheme]
    for ground in ("paper", "card", "wash"):
        for text in ("ink", "soft", "pine", "alarm"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert _contrast(colours["ink"], colours["mark"]) >= 4.5
    assert _contrast(colours["on-pine"], colours["pine"]) >= 4.5
    assert _contrast(colours["on-pine"], colours["pine-deep"]) >= 4.5
    for ground in ("paper", "card"):
        assert _contrast(colours["edge"], colours[ground]) >= 3
