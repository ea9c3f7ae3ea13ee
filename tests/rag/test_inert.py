"""Answers in which nothing can be clicked, loaded or run, and which read as before."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from rag.inert import JOINER, inert
from tests.injection.attacks import ATTACKS

RENDERERS = (
    MarkdownIt("commonmark", {"html": True}),
    MarkdownIt("gfm-like", {"html": True, "linkify": False}),
)
LIVE = re.compile(
    r"<(?!/?(?:p|em|strong|code|pre|ol|ul|li|h[1-6]|hr|br|blockquote|table|thead|tbody|tr|t[hd]|s)\b)[a-z!?/]"
)


def rendered(text: str) -> list[str]:
    """The text as the readers of Markdown show it, elements of the text itself included."""
    return [renderer.render(text) for renderer in RENDERERS]


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.family == "leak"], ids=lambda a: a.name)
def test_no_leak_is_live(attack: object) -> None:
    text = attack.text  # type: ignore[attr-defined]
    for page in rendered(f"The lease says: {inert(text)} [1]"):
        assert not LIVE.search(page), page


PIECES = st.sampled_from([*'[]()!<>a/: \n"=\\`', "img ", "https:", "//", "x.org", "&lt;"])


@given(st.lists(PIECES, max_size=14).map("".join))
def test_nothing_that_can_be_built_is_live(text: str) -> None:
    for page in rendered(inert(text)):
        assert not LIVE.search(page), (text, page)


@given(st.text())
def test_what_is_seen_stays(text: str) -> None:
    shown = inert(text).replace(JOINER, "")
    assert shown == "".join(c for c in text.replace(JOINER, "") if c in shown)
    assert inert(inert(text)).replace(JOINER, "") == shown


def test_plain_text_is_untouched() -> None:
    for text in (
        "Rent: 41,300 (a year), see § 5 [1].",
        "ratio 3:1",
        "a < b",
        "Größe: 5 m",
        "जल: पानी",
        "e.g. x@y",
    ):
        assert inert(text) == text
