"""What can be said of the page's files without a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "api" / "page"
FILES = sorted(path for path in PAGE.rglob("*") if path.is_file())
CATALOGS = {path for path in FILES if path.parent.name == "words"}
LARGEST_PAGE = 200_000


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


def test_every_module_is_imported_and_there() -> None:
    modules = {path.name: path.read_text() for path in FILES if path.suffix == ".js"}
    imported = {
        name
        for text in modules.values()
        for name in re.findall(r'^import .* from "\./([^"]+)";$', text, re.M)
    }
    assert imported | {"main.js"} == set(modules)


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
    """A browser loads every file but the catalogs, and one of those."""
    catalogs = [path.stat().st_size for path in CATALOGS]
    rest = sum(path.stat().st_size for path in FILES if path not in CATALOGS)
    assert rest + max(catalogs) <= LARGEST_PAGE


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
