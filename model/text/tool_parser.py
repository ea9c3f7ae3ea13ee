"""Calls of tools, found in an answer while it is written.

Nothing is taken back and nothing is lost: text that cannot be a call is passed on with the letter that
decides it, and a call that breaks off is passed on as text after all. Only the ids decide what is a
`<|python_tag|>`; a text that spells it is text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable

from model.text.call_forms import CallForm, JsonForm, TagForm, Verdict
from model.text.json_scan import JsonScanner, Step
from model.text.python_form import PythonForm
from model.text.tokenizer import Tokenizer
from model.text.tool_events import (
    TextDelta,
    ToolCallBroken,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    ToolEvent,
    joined,
)
from model.text.tools import BUILTIN_TOOLS, CODE_INTERPRETER, NAME, ToolCall


class ToolCallParser:
    """Turns the pieces of an answer into text and calls; the events joined do not depend on the cuts.

    A call is `{"name": …, "parameters": {…}}` or `<function=name>{…}</function>` anywhere in the text, or
    `brave_search.call(…)` at its beginning, behind `<|python_tag|>` or behind another call. Everything else
    behind `<|python_tag|>` is code for the interpreter. White space, `;` and `,` between two calls and after
    the last one, and the brackets of a list of calls, are no text.

    Args:
        names: tools that may be called; None for any.
        builtin: built-in tools that may be called.
        python_tag: id of `<|python_tag|>`, None for a model without one.
        new_id: makes the id of a call from its number, 0 for the first of the answer.
    """

    def __init__(
        self,
        names: Collection[str] | None = None,
        builtin: Collection[str] = BUILTIN_TOOLS,
        python_tag: int | None = None,
        new_id: Callable[[int], str] = "call_{}".format,
    ) -> None:
        self._names = None if names is None else frozenset(names) | frozenset(builtin)
        self._builtin, self._python_tag, self._new_id = tuple(builtin), python_tag, new_id
        self._events: list[ToolEvent] = []
        self._count = 0
        self._place = "start"  # or "text", "gap" behind a call, "python" behind a tag, "code"
        self._held = ""  # what stands before a possible call and is dropped if it is one
        self._bracket = self._list = self._tagged = False
        self._form: CallForm | None = None
        self._announced = False
        self._rest: JsonScanner | None = None
        self._code: list[str] = []

    def push(self, text: str, token: int | None = None) -> list[ToolEvent]:
        """Take a piece of the answer: the text that a token made certain, and its id if known."""
        for letter in text:
            self._letter(letter)
        if token is not None and token == self._python_tag:
            # A control token has no text of its own: what came with it was held back before it.
            self._close(truncated=False)
            self._place = "python"
        return self._taken()

    def push_ids(self, ids: Iterable[int], tokenizer: Tokenizer) -> list[ToolEvent]:
        """Take ids that end with a whole character, such as a finished answer's."""
        run: list[int] = []
        for token in ids:
            if token == self._python_tag:
                for letter in tokenizer.decode(run):
                    self._letter(letter)
                self._close(truncated=False)
                self._place, run = "python", []
            else:
                run.append(token)
        for letter in tokenizer.decode(run):
            self._letter(letter)
        return self._taken()

    def finish(self, truncated: bool = False) -> list[ToolEvent]:
        """The end of the answer.

        Args:
            truncated: it ended by its length or by a cancellation, so that code is incomplete.
        """
        self._close(truncated)
        self._place = "start"
        return self._taken()

    def _letter(self, letter: str) -> None:
        if self._place == "code":
            self._say_code(letter)
        elif self._form is not None:
            self._follow(self._form, letter)
        elif self._rest is not None and (step := self._rest.feed(letter)) is not Step.ERROR:
            self._text(letter)
            self._rest = None if step is Step.DONE else self._rest
        else:
            self._rest = None
            self._open(letter)

    def _open(self, letter: str) -> None:
        """A letter outside of calls."""
        form = self._form_of(letter)
        if form is not None:
            self._form, self._announced = form, False
            self._follow(form, letter)
        elif letter == "[" and not self._bracket and not self._list:
            self._held, self._bracket = self._held + letter, True
        elif letter.isspace() and (self._bracket or self._place in ("gap", "python")):
            self._held += letter
        elif self._place == "gap" and not self._bracket and letter in (";,]" if self._list else ";,"):
            self._held += letter
            self._list = self._list and letter != "]"
        elif letter.isspace() and self._place == "start":
            self._text(letter)
        elif self._place == "python":
            self._no_call(letter)
        else:
            # What was held is text, and this letter begins anew.
            anew, self._place = bool(self._held), "text"
            self._no_call("")
            self._open(letter) if anew else self._text(letter)

    def _form_of(self, letter: str) -> CallForm | None:
        if letter == "{":
            return JsonForm(self._accepts, bare=self._names is not None)
        if letter == "<" and not self._bracket:
            return TagForm(self._accepts)
        python = self._place != "text" and not self._bracket
        if python and any(name.startswith(letter) for name in self._builtin if name != CODE_INTERPRETER):
            return PythonForm(self._builtin)
        return None

    def _follow(self, form: CallForm, letter: str) -> None:
        verdict = form.feed(letter)
        if verdict is Verdict.CLOSED and self._place == "gap" and self._tagged:
            self._form, self._held = None, ""
        elif verdict in (Verdict.MORE, Verdict.DONE):
            self._announce(form)
            if verdict is Verdict.DONE:
                self._finish_call(ToolCall(form.name, form.arguments, self._new_id(self._count)))
                self._place, self._tagged, self._form = "gap", isinstance(form, TagForm), None
        elif verdict is Verdict.OTHER:
            self._refuse(form)
            self._letter(letter)
        else:
            self._rest = form.scanner
            self._refuse(form)

    def _announce(self, form: CallForm) -> None:
        if form.name and not self._announced:
            self._list = self._list or self._bracket
            self._announced, self._bracket = True, False
            self._held = "" if form.name else self._held
            self._start(form.name)
        if form.delta:
            self._events.append(ToolCallDelta(self._count, form.delta))

    def _refuse(self, form: CallForm) -> None:
        """It is no call: behind a tag it is code, elsewhere text."""
        if self._announced:
            self._events.append(ToolCallBroken(self._count))
            self._count += 1
        self._form = None
        self._place = "python" if self._place == "python" else "text"
        self._no_call("".join(form.letters))

    def _no_call(self, text: str) -> None:
        text, self._held, self._bracket, self._list = self._held + text, "", False, False
        if self._place == "python" and CODE_INTERPRETER in self._builtin:
            self._place, self._rest = "code", None
            self._start(CODE_INTERPRETER)
            self._events.append(ToolCallDelta(self._count, '{"code": "'))
            self._say_code(text)
        else:
            self._place = "text"
            self._text(text)

    def _close(self, truncated: bool) -> None:
        """The end of the answer or of what stood before a tag."""
        form, self._form, self._rest = self._form, None, None
        if form is not None:
            if isinstance(form, PythonForm) and not form.name and not truncated:
                self._refuse(form)  # the beginning of a name is Python too
            else:
                self._place = "text"
                self._refuse(form)
        elif self._bracket or self._place == "python":
            self._place = "text"
            self._no_call("")
        if self._place == "code":
            code = "".join(self._code)
            if truncated:
                self._events.append(ToolCallBroken(self._count))
                self._count += 1
                self._text(code)
            else:
                self._events.append(ToolCallDelta(self._count, '"}'))
                self._finish_call(ToolCall(CODE_INTERPRETER, {"code": code}, self._new_id(self._count)))
        self._held, self._code = "", []
        self._bracket = self._list = self._tagged = False

    def _start(self, name: str) -> None:
        self._events.append(ToolCallStart(self._count, self._new_id(self._count), name))

    def _finish_call(self, call: ToolCall) -> None:
        self._events.append(ToolCallEnd(self._count, call))
        self._count += 1

    def _say_code(self, text: str) -> None:
        self._code.append(text)
        self._events.append(ToolCallDelta(self._count, json.dumps(text, ensure_ascii=False)[1:-1]))

    def _text(self, text: str) -> None:
        if text:
            self._events.append(TextDelta(text))

    def _accepts(self, name: str) -> bool:
        return bool(NAME.fullmatch(name)) and (self._names is None or name in self._names)

    def _taken(self) -> list[ToolEvent]:
        events, self._events = joined(self._events), []
        return events
