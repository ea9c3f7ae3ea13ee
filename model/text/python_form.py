"""A built-in tool's call as Llama 3.1 writes it, a Python expression, followed letter by letter."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

from model.text.call_forms import Verdict
from model.text.json_scan import JsonScanner
from model.text.tools import CODE_INTERPRETER, read_json


class PythonForm:
    """`brave_search.call(query="…")`: keywords with Python strings or JSON's bare values."""

    _ESCAPES: dict[str, str] = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "\\": "\\"}  # noqa: RUF012
    _BARE: dict[str, str] = {"True": "true", "False": "false", "None": "null"}  # noqa: RUF012

    def __init__(self, builtin: Collection[str]) -> None:
        self.letters: list[str] = []
        self.name = self.delta = ""
        self.arguments: dict[str, Any] = {}
        self.scanner: JsonScanner | None = None
        self._openings = {f"{name}.call(": name for name in builtin if name != CODE_INTERPRETER}
        self._state, self._word, self._quote = "key", "", ""
        self._value: list[str] = []
        self._steps: dict[str, Callable[[str], Verdict]] = {
            "key": self._key, "bare": self._bare, "string": self._string, "escape": self._escape,
            "next": self._next,
        }  # fmt: skip

    def feed(self, letter: str) -> Verdict:
        self.delta = ""
        if self.name:
            verdict = self._steps[self._state](letter)
        else:
            text = "".join(self.letters) + letter
            verdict = Verdict.MORE if any(name.startswith(text) for name in self._openings) else Verdict.OTHER
            if text in self._openings:
                self.name, self.delta = self._openings[text], "{"
        if verdict is not Verdict.OTHER:
            self.letters.append(letter)
        return verdict

    def _key(self, letter: str) -> Verdict:
        if letter.isspace() and not self._word:
            return Verdict.MORE
        if letter == ")" and not self._word and not self.arguments:
            return self._close()
        if letter in "\"'" and not self._word and not self.arguments:
            return self._begin("query") and self._bare(letter)  # its one parameter, given without its name
        if letter == "=" and self._word.isidentifier() and self._word not in self.arguments:
            return self._begin(self._word)
        self._word += letter
        return Verdict.MORE if self._word.isidentifier() and len(self._word) <= 128 else Verdict.OTHER

    def _begin(self, key: str) -> Verdict:
        self.delta = (", " if self.arguments else "") + json.dumps(key, ensure_ascii=False) + ": "
        self.arguments[key] = None
        self._state, self._word = "bare", ""
        return Verdict.MORE

    def _bare(self, letter: str) -> Verdict:
        if letter in "\"'" and not self._word:
            self._state, self._quote, self._value = "string", letter, []
            self.delta += '"'
            return Verdict.MORE
        if letter not in ",)" and not letter.isspace():
            self._word += letter
            return Verdict.MORE if len(self._word) <= 64 else Verdict.OTHER
        if not self._word:
            return Verdict.MORE if letter.isspace() else Verdict.OTHER
        text = self._BARE.get(self._word, self._word)
        value = read_json(text)
        if isinstance(value, (str, dict, list)) or (value is None and text != "null"):
            return Verdict.OTHER
        self.delta = text
        return self._put(value) and self._next(letter)

    def _string(self, letter: str) -> Verdict:
        if letter == "\\":
            self._state = "escape"
            return Verdict.MORE
        if letter == self._quote:
            self.delta = '"'
            return self._put("".join(self._value))
        return self._say(letter)

    def _escape(self, letter: str) -> Verdict:
        self._state = "string"
        return self._say(self._ESCAPES.get(letter, f"\\{letter}"))

    def _say(self, text: str) -> Verdict:
        self._value.append(text)
        self.delta = json.dumps(text, ensure_ascii=False)[1:-1]
        return Verdict.MORE

    def _put(self, value: Any) -> Verdict:
        self.arguments[list(self.arguments)[-1]] = value
        self._state, self._word = "next", ""
        return Verdict.MORE

    def _next(self, letter: str) -> Verdict:
        if letter == ")":
            return self._close()
        if letter == ",":
            self._state = "key"
            return Verdict.MORE
        return Verdict.MORE if letter.isspace() else Verdict.OTHER

    def _close(self) -> Verdict:
        self.delta += "}"
        return Verdict.DONE
