"""Inert: text of documents that stays text wherever an answer is shown: as HTML, Markdown, in a terminal."""

from __future__ import annotations

import re

JOINER = "\u2060"
"""WORD JOINER: takes no room, breaks no line, and is part of no link or tag."""

_ACTIVE = re.compile(
    r"""(?x)
    (?: <(?=[A-Za-z/!?])            # an element, a comment, an autolink
      | !(?=\[)                     # an image
      | \](?=\s*[(\[:])             # a link, a reference, a definition
      | \b[A-Za-z][A-Za-z0-9+.-]{1,30}:(?=//|\\\\)             # a URL
      | \b(?:javascript|data|vbscript|mailto|file|tel):(?=\S)
      | \bwww(?=\.)
      | [\w.+-]@(?=[\w-]+\.)        # an address
    )"""
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")


def inert(text: str) -> str:
    """The text with a word joiner inside all that a reader of HTML or Markdown would act on.

    What is seen stays the same. Control characters (escape sequences of terminals), direction overrides and
    tag characters, which nobody sees, are left out. The exact text is in the citations.
    """
    return _CONTROL.sub("", _ACTIVE.sub(lambda found: found.group() + JOINER, text))
