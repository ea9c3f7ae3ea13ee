"""The site of the documentation: built without a warning, every page in it, nothing from other machines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from reading import ROOT

MKDOCS = [sys.executable, "-m", "mkdocs", "build", "--quiet"]
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "srcset", "video": "src", "link": "href"}
"""What a browser fetches by itself, by the attribute that says from where."""


class Loaded(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") in {"canonical", "next", "prev", "edit"}:
            return
        if tag in LOADING and (address := given.get(LOADING[tag])):
            self.found.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [*MKDOCS, "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_in_the_site(site: Path) -> None:
    docs = ROOT / "docs"
    for page in docs.rglob("*.md"):
        name = page.relative_to(docs).with_suffix(".html")
        built = site / name.with_name("index.html" if name.name == "README.html" else name.name)
        assert built.exists(), name


def test_no_page_loads_anything_from_another_machine(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        parser = Loaded()
        parser.feed(page.read_text("utf-8"))
        assert parser.found, page
        outside = [each for each in parser.found if re.match(r"(https?:)?//", each)]
        assert outside == [], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", style.read_text("utf-8")), style


def test_no_diagram_makes_the_browser_fetch_a_library(site: Path) -> None:
    # the theme's script loads one from elsewhere where a page has an element of this class
    for page in site.rglob("*.html"):
        assert 'class="mermaid"' not in page.read_text("utf-8"), page


def test_links_to_sources_leave_no_dead_link(site: Path) -> None:
    for page in site.rglob("*.html"):
        for link in re.findall(r'href="([^"#?]+)', page.read_text("utf-8")):
            if re.match(r"[a-z]+:|//|/", link):
                continue
            assert (page.parent / link).exists(), f"{link} in {page.relative_to(site)}"
