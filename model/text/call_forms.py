"""Forms in which Llama 3.1 writes a call, each followed letter by letter until it is one or is not.

Two with JSON are here; `python_form` has the third.

A form is fed from its first letter on. As soon as the call's name and the beginning of its arguments stand,
it is announced (`name` is set); from then on `delta` is what the last letter adds to the arguments' JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Protocol

from model.text.json_scan import JsonScanner, Step
from model.text.tools import NAME, read_json


class Verdict(Enum):
    """What a form says of the letter that it was fed."""

    MORE = auto()  # it goes on
    DONE = auto()  # the call is complete: `arguments` holds them
    CLOSED = auto()  # it was the end of a tag
    OTHER = auto()  # no call; the letter does not belong to what was read
    FOREIGN = auto()  # no call; the letter belongs to it, and `scanner` follows the rest of that JSON, if any


class CallForm(Protocol):
    """One form of a call."""

    letters: list[str]
    name: str
    delta: str
    arguments: dict[str, Any]
    scanner: JsonScanner | None

    def feed(self, letter: str) -> Verdict: ...


class JsonForm:
    """`{"name": …, "parameters": {…}}`; also with `type`, `id`, `arguments`, or inside of `function`.

    Args:
        accepts: whether a tool of a name may be called.
        bare: whether a call without any arguments is one too.
    """

    _KEYS = ("type", "name", "function", "parameters", "arguments", "id")

    def __init__(self, accepts: Callable[[str], bool], bare: bool) -> None:
        self.letters: list[str] = []
        self.name = self.delta = ""
        self.arguments: dict[str, Any] = {}
        self.scanner: JsonScanner | None = JsonScanner()
        self._accepts, self._bare = accepts, bare
        self._keys: set[str] = set()
        self._pending, self._start, self._streaming = "", 0, False

    def feed(self, letter: str) -> Verdict:
        assert self.scanner is not None  # noqa: S101  (only a finished form has none)
        step = self.scanner.feed(letter)
        if step is Step.ERROR:
            return Verdict.OTHER
        self.letters.append(letter)
        self.delta = _escaped(letter, self.scanner.in_string) if self._streaming else ""
        key = self.scanner.key
        if self.scanner.in_key and not any(known.startswith(key) for known in self._KEYS):
            return Verdict.FOREIGN
        if step is Step.KEY:
            return self._key("parameters" if key == "arguments" else key)
        if step is Step.VALUE:
            return self._value(key, letter)
        if step is Step.END_VALUE:
            return self._end_value(key)
        return self._done() if step is Step.DONE else Verdict.MORE

    def _key(self, key: str) -> Verdict:
        if key in self._keys or self.scanner is None or self.scanner.key not in self._KEYS:
            return Verdict.FOREIGN
        self._keys.add(key)
        return Verdict.MORE

    def _value(self, key: str, letter: str) -> Verdict:
        self._start = len(self.letters) - 1
        allowed = {"name": '"', "type": '"', "function": '"{', "parameters": '{"n', "arguments": '{"n'}
        if letter not in allowed.get(key, letter):
            return Verdict.FOREIGN
        if key in ("parameters", "arguments") and letter == "{" and self._pending and not self.name:
            self.name, self._streaming, self.delta = self._pending, True, letter
        return Verdict.MORE

    def _end_value(self, key: str) -> Verdict:
        self._streaming, was = False, self._streaming
        if key in ("id", "function") and not was:
            return Verdict.MORE
        value = read_json("".join(self.letters[self._start :]))
        if was:
            if not isinstance(value, dict):
                return Verdict.FOREIGN
            self.arguments = value
        elif key == "name":
            if not isinstance(value, str) or not self._accepts(value):
                return Verdict.FOREIGN
            self._pending = value
        elif key == "type" and value != "function":
            return Verdict.FOREIGN
        return Verdict.MORE

    def _done(self) -> Verdict:
        self.scanner = None
        if self.name:
            return Verdict.DONE
        whole = read_json("".join(self.letters))
        inner = whole.get("function") if isinstance(whole, dict) else None
        if isinstance(inner, str):
            whole, inner = {"name": inner, **whole}, None
        call = inner if isinstance(inner, dict) else whole
        if not isinstance(call, dict):
            return Verdict.FOREIGN
        name, missing = call.get("name"), {} if self._bare else ""
        arguments = call.get("parameters", call.get("arguments", missing))
        if isinstance(arguments, str):
            arguments = read_json(arguments)
        elif arguments is None:
            arguments = {}
        if not isinstance(name, str) or not self._accepts(name) or not isinstance(arguments, dict):
            return Verdict.FOREIGN
        self.name, self.arguments, self.delta = name, arguments, json.dumps(arguments, ensure_ascii=False)
        return Verdict.DONE


class TagForm:
    """`<function=name>{…}</function>`; the closing tag is a form of its own, a call is whole without it."""

    _OPEN, _CLOSE = "<function=", "</function>"

    def __init__(self, accepts: Callable[[str], bool]) -> None:
        self.letters: list[str] = []
        self.name = self.delta = ""
        self.arguments: dict[str, Any] = {}
        self.scanner: JsonScanner | None = None
        self._accepts, self._pending, self._start = accepts, "", 0

    def feed(self, letter: str) -> Verdict:
        verdict = self._json(letter) if self._pending else self._tag(letter)
        if verdict is not Verdict.OTHER:
            self.letters.append(letter)
        return verdict

    def _tag(self, letter: str) -> Verdict:
        text = "".join(self.letters) + letter
        if self._OPEN.startswith(text) or self._CLOSE.startswith(text):
            return Verdict.CLOSED if text == self._CLOSE else Verdict.MORE
        name = text.removeprefix(self._OPEN)
        if len(name) == len(text):
            return Verdict.OTHER
        if letter == ">":
            self._pending = name[:-1]
            return Verdict.MORE if self._accepts(self._pending) else Verdict.OTHER
        return Verdict.MORE if NAME.fullmatch(name) else Verdict.OTHER

    def _json(self, letter: str) -> Verdict:
        if self.scanner is None:
            if letter.isspace():
                return Verdict.MORE
            if letter != "{":
                return Verdict.OTHER
            self.scanner, self.name, self._start = JsonScanner(), self._pending, len(self.letters)
        step = self.scanner.feed(letter)
        if step is Step.ERROR:
            return Verdict.OTHER
        self.delta = _escaped(letter, self.scanner.in_string)
        if step is Step.DONE:
            value = read_json("".join([*self.letters[self._start :], letter]))
            self.scanner = None
            if not isinstance(value, dict):
                return Verdict.FOREIGN
            self.arguments = value
            return Verdict.DONE
        return Verdict.MORE


def _escaped(letter: str, in_string: bool) -> str:
    """The letter as strict JSON has it: a raw line break within a string becomes its escape."""
    return json.dumps(letter)[1:-1] if in_string and letter < " " else letter
