"""Reads one JSON value letter by letter: where it ends, and what stands in the outermost object.

Strict but for one thing: strings may hold raw line breaks and tabs, which models write into code.
"""

from __future__ import annotations

import re
from enum import Enum, auto

MAX_DEPTH = 64
"""Arrays and objects within each other; deeper ones are refused, they are garbage."""

_SPACE = " \t\r\n"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_BARE = frozenset("+-.0123456789eE") | frozenset("truefalsn")
_BARE_LONGEST = 64


class Step(Enum):
    """What a letter was, as far as the outermost object is concerned."""

    INSIDE = auto()
    KEY = auto()  # a key of the outermost object ended: `key` holds it
    VALUE = auto()  # the value of that key begins with this letter
    END_VALUE = auto()  # it ended, with this letter (a string, an object, an array) or before it (a number)
    DONE = auto()  # the whole value ended with this letter
    ERROR = auto()  # this letter cannot stand here; the scanner is of no more use


class JsonScanner:
    """Follows one object or array from its bracket on.

    Attributes:
        key: the key of the outermost object that was read last; of an escape only its backslash.
        in_string: whether the last letter was within a string of any depth.
    """

    def __init__(self) -> None:
        self.key = ""
        self.in_string = False
        self._stack: list[str] = []
        self._expect = "value"
        self._escape = 0  # letters of an escape still to come; -1: its kind
        self._is_key = False
        self._bare = ""

    @property
    def in_key(self) -> bool:
        """Whether the last letter was within a key of the outermost object; `key` is its beginning then."""
        return self.in_string and self._is_key and len(self._stack) == 1

    def feed(self, letter: str) -> Step:
        """Take the next letter. After DONE or ERROR none may follow."""
        if self.in_string:
            return self._string(letter)
        if self._bare:
            if letter in _BARE and len(self._bare) < _BARE_LONGEST:
                self._bare += letter
                return Step.INSIDE
            if self._bare not in ("true", "false", "null") and not _NUMBER.fullmatch(self._bare):
                return Step.ERROR
            self._bare = ""
            self._expect = "next"
            after = self._structure(letter)
            # Where this letter ends the object too, the end of the value goes without saying.
            return Step.END_VALUE if after is Step.INSIDE and len(self._stack) == 1 else after
        return self._structure(letter)

    def _string(self, letter: str) -> Step:
        if self._escape == -1:
            self._escape = 4 if letter == "u" else 0
            return Step.INSIDE if letter in '"\\/bfnrtu' else Step.ERROR
        if self._escape:
            self._escape -= 1
            return Step.INSIDE if letter in "0123456789abcdefABCDEF" else Step.ERROR
        if letter == '"':
            self.in_string = False
            if self._is_key:
                self._expect = "colon"
                return Step.KEY if len(self._stack) == 1 else Step.INSIDE
            return self._ended()
        if letter == "\\":
            self._escape = -1
        if self.in_key:
            self.key += letter
        return Step.INSIDE

    def _structure(self, letter: str) -> Step:  # noqa: PLR0911  (one for each thing that may stand here)
        if letter in _SPACE:
            return Step.INSIDE
        expect, outermost = self._expect, len(self._stack) == 1
        if expect == "colon":
            self._expect = "value"
            return Step.INSIDE if letter == ":" else Step.ERROR
        if expect == "next":
            if letter == ",":
                self._expect = "key" if self._stack[-1] == "{" else "value"
                return Step.INSIDE
            return self._close(letter)
        if expect in ("key", "first key"):
            if letter == '"':
                self._is_key = self.in_string = True
                self.key = "" if outermost else self.key
                return Step.INSIDE
            return self._close(letter) if expect == "first key" else Step.ERROR
        if expect == "first value" and letter == "]":
            return self._close(letter)
        started = self._start(letter)
        keyed = outermost and self._stack[0] == "{"
        return Step.VALUE if started and keyed else Step.INSIDE if started else Step.ERROR

    def _start(self, letter: str) -> bool:
        """Begin a value with this letter."""
        if letter in "{[":
            self._stack.append(letter)
            self._expect = "first key" if letter == "{" else "first value"
            return len(self._stack) <= MAX_DEPTH
        if letter == '"':
            self.in_string, self._is_key = True, False
            return bool(self._stack)
        self._bare = letter
        return bool(self._stack) and letter in "-0123456789tfn"

    def _close(self, letter: str) -> Step:
        if {"{": "}", "[": "]"}[self._stack[-1]] != letter:
            return Step.ERROR
        self._stack.pop()
        return self._ended()

    def _ended(self) -> Step:
        self._expect = "next"
        if not self._stack:
            return Step.DONE
        return Step.END_VALUE if len(self._stack) == 1 and self._stack[0] == "{" else Step.INSIDE
