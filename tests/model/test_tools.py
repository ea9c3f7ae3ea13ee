"""Calls of tools: rendered, and found again in what a model writes, however it is cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import ChatFormatError, Finished, FinishReason, PrefillProgress, TokenEvent
from model.text.chat import Llama3Chat
from model.text.json_scan import JsonScanner, Step
from model.text.stream import TextStream
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
from model.text.tool_parser import ToolCallParser
from model.text.tool_stream import with_tool_events
from model.text.tools import BUILTIN_TOOLS, ToolCall, ToolDefinition, read_json

TAG = -7
"""Stands for `<|python_tag|>` among the letters of an answer."""

Answer = Sequence["str | int"]


def parse(
    answer: Answer, cuts: Sequence[int] = (), truncated: bool = False, **options: Any
) -> list[ToolEvent]:
    """The events of an answer that is cut at places of its texts."""
    parser, events = ToolCallParser(python_tag=TAG, **options), []
    for piece in answer:
        if isinstance(piece, int):
            events += parser.push("", piece)
            continue
        places = sorted({0, len(piece), *(cut % (len(piece) + 1) for cut in cuts)})
        for start, end in pairwise(places):
            events += parser.push(piece[start:end], 0)
    return joined(events + parser.finish(truncated))


def calls(events: Sequence[ToolEvent]) -> list[tuple[str, Any]]:
    return [(event.call.name, event.call.arguments) for event in events if isinstance(event, ToolCallEnd)]


def text(events: Sequence[ToolEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def code(written: str) -> tuple[str, Any]:
    return "code_interpreter", {"code": written}


W = ("w", {"a": 1})
CASES: list[tuple[Answer, list[tuple[str, Any]], str]] = [
    (["It is {x}, [1] or <b>."], [], "It is {x}, [1] or <b>."),
    (['{"name": "w", "parameters": {"a": 1}}'], [W], ""),
    (['{"type": "function", "name": "w", "parameters": {"a": 1}}'], [W], ""),
    (['{"name": "w", "arguments": "{\\"a\\": 1}"}'], [W], ""),
    (['{"parameters": {"a": 1}, "name": "w"}'], [W], ""),
    (['{"type": "function", "function": {"name": "w", "parameters": {"a": 1}}}'], [W], ""),
    (['{"name": "w", "parameters": null}'], [("w", {})], ""),
    (['Go\n{"name": "w", "parameters": {"a": 1}}; {"name": "v", "parameters": {}}'], [W, ("v", {})], "Go\n"),
    (['{"name": "w", "parameters": {"a": 1}}\n{"name": "w", "parameters": {"a": 1}}\n'], [W, W], ""),
    ([' [ {"name": "w", "parameters": {"a": 1}}, {"name": "v", "parameters": {}} ]'], [W, ("v", {})], " "),
    (['<function=w>{"a": 1}</function>\n<function=v>{}</function>.'], [W, ("v", {})], "."),
    (['<function=w>{"a": 1}'], [W], ""),
    (["<function=w>x</function> <functions>"], [], "<function=w>x</function> <functions>"),
    ([TAG, '{"name": "w", "parameters": {"a": 1}}'], [W], ""),
    ([TAG, 'brave_search.call(query="a \\"b\\" é")'], [("brave_search", {"query": 'a "b" é'})], ""),
    (['brave_search.call("x") and'], [("brave_search", {"query": "x"})], " and"),
    (["I brave_search.call('x')"], [], "I brave_search.call('x')"),
    ([TAG, "brave_search.call(query='1', n=2);wolfram_alpha.call(query='2')"],
     [("brave_search", {"query": "1", "n": 2}), ("wolfram_alpha", {"query": "2"})], ""),
    ([TAG, 'x = {"name": "w"}\nprint(x)'], [code('x = {"name": "w"}\nprint(x)')], ""),
    ([TAG, '{"a": 1}'], [code('{"a": 1}')], ""),
    (["So: ", TAG, "1+1", TAG, "2"], [code("1+1"), code("2")], "So: "),
    (['{"name": "w", "parameters": {"code": "a\n\tb"}}'], [("w", {"code": "a\n\tb"})], ""),
    (['{"name": "w", "parameters": {"a": "tru'], [], '{"name": "w", "parameters": {"a": "tru'),
    (['{"name": "w", "parameters": {"a": tru}} so'], [], '{"name": "w", "parameters": {"a": tru}} so'),
    (['{"a": {"name": "w", "parameters": {}}} so'], [], '{"a": {"name": "w", "parameters": {}}} so'),
    (['{"name": "w", "parameters": {}, "name": "v"}'], [], '{"name": "w", "parameters": {}, "name": "v"}'),
    (['{{"name": "w", "parameters": {"a": 1}}}'], [W], "{}"),
    (['{"name": "bad name", "parameters": {}}'], [], '{"name": "bad name", "parameters": {}}'),
    (["<|python_tag|>print(1)"], [], "<|python_tag|>print(1)"),
    (['{"name": "w", "parameters": {"a": "\\ud800"}}'], [("w", {"a": "\ufffd"})], ""),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "expected", "rest"), CASES)
def test_calls_are_found(answer: Answer, expected: list[tuple[str, Any]], rest: str) -> None:
    whole = parse(answer)
    assert (calls(whole), text(whole)) == (expected, rest)
    assert parse(answer, range(99)) == whole


PIECES = [
    '{"name": "w", "parameters": {"a": [1, "}"]}}', '{"name": ', '"w", "parameters": {', "}", "{", "[", "]",
    '{"type": "function", ', "<function=w>", '{"a": "\\u12', "</function>", "<function=", "print(1)", "1e9",
    "brave_search.call(", 'query="x")', "wolfram_alpha.call(", "'", '"', "\\", ";", ", ", " ", "\n", "ü",
]  # fmt: skip
ANSWERS = st.lists(st.one_of(st.sampled_from(PIECES), st.just(TAG), st.text(max_size=5)), max_size=12)


@given(ANSWERS, st.lists(st.integers(0, 60)), st.booleans())
def test_the_cuts_change_nothing_and_the_events_agree(
    answer: Answer, cuts: list[int], truncated: bool
) -> None:
    whole = parse(answer, truncated=truncated)
    assert parse(answer, cuts, truncated) == whole
    assert parse(answer, range(99), truncated) == whole
    open_call: tuple[int, str] | None = None
    arguments = ""
    for event in whole:
        match event:
            case ToolCallStart(index, _, name):
                assert open_call is None
                open_call, arguments = (index, name), ""
            case ToolCallDelta(_, piece):
                arguments += piece
            case ToolCallEnd(index, call):
                assert open_call == (index, call.name)
                assert read_json(arguments) == call.arguments
                json.loads(arguments)
                open_call = None
            case ToolCallBroken(index):
                assert open_call is not None
                assert open_call[0] == index
                open_call = None
            case TextDelta():
                assert open_call is None
    assert open_call is None


@given(ANSWERS)
def test_without_a_complete_call_the_text_is_the_answer(answer: Answer) -> None:
    plain = "".join(piece for piece in answer if isinstance(piece, str))
    events = parse([plain], names=[], builtin=[])
    assert text(events) == plain
    assert calls(events) == []


@given(st.text(max_size=20), st.integers(0, 200))
def test_what_breaks_off_is_text(value: str, cut: int) -> None:
    for whole in (
        json.dumps({"name": "w", "parameters": {"a": value}}),
        f"<function=w>{json.dumps({'a': value})}",
        f"brave_search.call(query={json.dumps(value, ensure_ascii=False)})",
    ):
        if cut < len(whole):
            events = parse([whole[:cut]])
            assert text(events) == whole[:cut]
            assert calls(events) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=6), JSON, max_size=3)


@given(
    JSON.filter(lambda value: isinstance(value, (dict, list))),
    st.sampled_from([None, 1]),
    st.text(max_size=9),
)
def test_a_json_value_ends_where_it_ends(value: Any, indent: int | None, rest: str) -> None:
    written = json.dumps(value, indent=indent)
    scanner = JsonScanner()
    steps = [scanner.feed(letter) for letter in written]
    assert steps[-1] is Step.DONE
    assert not {Step.DONE, Step.ERROR} & set(steps[:-1])
    broken = JsonScanner()
    for letter in written[:-1] + ("x" if rest == written[-1] else rest):
        if broken.feed(letter) in (Step.DONE, Step.ERROR):
            break


@given(st.text(alphabet='{}[]",:\\u0123456789.-+eEtrufalsn \n', max_size=30))
def test_what_the_scanner_takes_is_json(garbage: str) -> None:
    scanner = JsonScanner()
    for at, letter in enumerate("{" + garbage):
        step = scanner.feed(letter)
        if step is Step.DONE:
            json.loads(("{" + garbage)[: at + 1], strict=False)
        if step in (Step.DONE, Step.ERROR):
            break


@pytest.mark.parametrize(
    "garbage", ['{"name": "w", "parameters": ' + '{"a": ' * 5000, "[" * 5000, '{"name": ' * 5000]
)
def test_deep_garbage_is_text(garbage: str) -> None:
    assert text(parse([garbage])) == garbage


@pytest.mark.parametrize("number", ["1" * 5000, "1e999", "NaN", "-Infinity"])
def test_numbers_that_nothing_can_hold_break_a_call(number: str) -> None:
    written = f'{{"name": "w", "parameters": {{"a": {number}}}}}'
    assert (text(parse([written])), calls(parse([written]))) == (written, [])


def test_a_long_answer_takes_linear_time() -> None:
    """Reading again from the start with every letter would take minutes."""
    for piece in (
        "{",
        "[",
        '{"',
        "<function=",
        "brave_search.call(",
        '{"name": "w", "parameters": {"a": "',
        "a;",
    ):
        long = piece + "x y" * 5_000
        assert text(parse([long])) == long


NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,9}", fullmatch=True)
CUSTOM = st.builds(ToolCall, NAMES, OBJECTS)
PYTHON = st.builds(
    ToolCall,
    st.sampled_from(["brave_search", "wolfram_alpha"]),
    st.builds(lambda text: {"query": text}, st.text()),
)
CODE = st.builds(
    lambda code: ToolCall("code_interpreter", {"code": f"print({code})"}),
    st.text(st.characters(codec="utf-8")),
)


@given(st.lists(CUSTOM | PYTHON | CODE, min_size=1, max_size=4), st.sampled_from(["json", "function_tag"]))
def test_rendered_calls_are_found_again(llama31: Tokenizer, written: list[ToolCall], style: Any) -> None:
    chat = Llama3Chat(llama31)
    dialogue = [{"role": "user", "content": "x"}]
    before = chat.render(dialogue, builtin=BUILTIN_TOOLS)
    answer = {"role": "assistant", "tool_calls": written}
    ids = chat.render([*dialogue, answer], False, builtin=BUILTIN_TOOLS, tool_style=style)
    assert ids[: len(before)] == before
    assert ids[-1] == llama31.control["<|eom_id|>"]
    parser = ToolCallParser(python_tag=llama31.control["<|python_tag|>"])
    events = joined(parser.push_ids(ids[len(before) : -1], llama31) + parser.finish())
    assert calls(events) == [(call.name, call.arguments) for call in written]
    assert text(events) == ""
    assert [event.id for event in events if isinstance(event, ToolCallStart)] == [
        f"call_{number}" for number in range(len(written))
    ]


def test_code_that_was_cut_off_is_text() -> None:
    events = parse([TAG, "print("], truncated=True)
    assert (calls(events), text(events)) == ([], "print(")


def test_only_tools_that_were_offered_are_called() -> None:
    answer = ['{"name": "v", "parameters": {}}\n<function=v>{}</function>{"name": "w"}', TAG, "x"]
    events = parse(answer, names=["w"], builtin=[])
    assert calls(events) == [("w", {})]
    assert text(events) == '{"name": "v", "parameters": {}}\n<function=v>{}</function>x'


@pytest.mark.parametrize("name", ["", "a b", "a>b", "<|eot_id|>", "a" * 129, ".a", "é"])
def test_names_that_no_tool_can_have(name: str) -> None:
    with pytest.raises(ChatFormatError, match="named"):
        ToolDefinition(name)
    with pytest.raises(ChatFormatError, match="named"):
        ToolCall(name, {})


@pytest.mark.parametrize(
    ("options", "calling"),
    [
        ({"tools": [{"name": 3}]}, None),
        ({"tools": [{"name": "a", "parameters": [1]}]}, None),
        ({"tools": [{"name": "a", "parameters": {"x": {1, 2}}}]}, None),
        ({"builtin": ["a b"]}, None),
        ({}, {"name": "a", "arguments": {"x": float("nan")}}),
        ({}, {"name": "a", "arguments": 3}),
        ({}, 3),
        ({"builtin": BUILTIN_TOOLS}, {"name": "code_interpreter", "arguments": {}}),
        ({"builtin": BUILTIN_TOOLS}, {"name": "brave_search", "arguments": "raw"}),
    ],
)
def test_malformed_tools_are_refused(llama31: Tokenizer, options: dict[str, Any], calling: Any) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "x"}]
    if calling is not None:
        messages.append({"role": "assistant", "tool_calls": [calling]})
    with pytest.raises(ChatFormatError):
        Llama3Chat(llama31).render(messages, **options)


@pytest.mark.parametrize(("reason", "found"), [("stop", True), ("length", False)])
def test_the_events_of_an_engine_with_its_calls(reason: FinishReason, found: bool) -> None:
    # "so" was held back as the possible beginning of a stop string until the tag came; ")" until the end.
    tokens = [TokenEvent(5, "I ", 0), TokenEvent(6, "", 1), TokenEvent(TAG, "so", 2), TokenEvent(7, "f(", 3)]
    answer = [PrefillProgress(3, 3, 0), *tokens, Finished(reason, 3, 0, 5, "I sof()")]
    events = list(with_tool_events(answer, ToolCallParser(python_tag=TAG)))
    assert [event for event in events if event in answer] == answer
    assert events[-1] == answer[-1]
    ours = joined(event for event in events if event not in answer)
    assert calls(ours) == ([code("f()")] if found else [])
    assert text(ours) == ("I so" if found else "I sof()")


def test_a_control_token_ends_what_was_held_back() -> None:
    stream = TextStream(("stop",))
    assert stream.push("é".encode()[:1] + b"x st") == "\ufffdx "
    assert stream.flush() == "st"
    assert stream.push(b"op it") == "op it"
