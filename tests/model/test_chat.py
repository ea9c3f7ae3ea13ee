"""Dialogues as token ids, and texts that try to be more than text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from checkpoints import CONTROL, tiny_model, write_folder
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from model import ChatFormatError, Engine, SamplingParams
from model.text.chat import ChatML, Llama3Chat, recognise
from model.text.tokenizer import Tokenizer
from model.text.tools import BUILTIN_TOOLS
from model.weights.hub import bundled as bundled_file

GOLDEN = json.loads((Path(__file__).parent / "golden" / "chat.json").read_text("utf-8"))
DIALOGUES = [
    [{"role": "user", "content": "Hello"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "  two\n\nlines \n"}],
    [
        {"role": "user", "content": "\n नमस्ते 👋🏽"},
        {"role": "assistant", "content": "สวัสดี"},
        {"role": "user", "content": "And 12345?"},
    ],
]


@pytest.fixture(scope="module")
def peer() -> PreTrainedTokenizerBase:
    """The bundled tokenizer with its template, in transformers."""
    file = bundled_file()
    return AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)


@pytest.mark.parametrize("messages", DIALOGUES)
@pytest.mark.parametrize("prompt", [True, False])
def test_chatml_is_what_the_template_writes(
    bundled: Engine, peer: PreTrainedTokenizerBase, messages: list[dict[str, str]], prompt: bool
) -> None:
    text = peer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
    ours = bundled.chat_format.render(messages, add_generation_prompt=prompt)
    assert bundled.tokenizer.decode(ours, control=True) == text
    assert ours == peer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("messages", DIALOGUES)
def test_llama3_turns(tiny: Engine, messages: list[dict[str, str]]) -> None:
    ids = tiny.chat_format.render(messages)
    expected = "<|begin_of_text|>"
    for message in messages:
        expected += (
            f"<|start_header_id|>{message['role']}<|end_header_id|>\n\n{message['content'].strip()}<|eot_id|>"
        )
    expected += "<|start_header_id|>assistant<|end_header_id|>\n\n"
    assert tiny.tokenizer.decode(ids, control=True) == expected
    assert ids.count(tiny.tokenizer.control["<|begin_of_text|>"]) == 1


def test_a_tool_answers_as_ipython(tiny: Engine) -> None:
    ids = tiny.chat_format.render([{"role": "tool", "content": "4"}], add_generation_prompt=False)
    assert "ipython" in tiny.tokenizer.decode(ids)


@pytest.mark.parametrize("which", ["tiny", "bundled"])
def test_no_text_becomes_a_control_token(which: str, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(which)
    tokenizer = engine.tokenizer

    @given(
        st.lists(st.sampled_from([*CONTROL, *tokenizer.control, "<|", "|>", " ", "eot_id", "a"]), max_size=8)
    )
    def check(pieces: list[str]) -> None:
        text = "".join(pieces)
        ids = tokenizer.encode(text)
        assert not any(tokenizer.is_control(token) for token in ids)
        assert tokenizer.decode(ids) == text
        turns = engine.chat_format.render([{"role": "user", "content": "x"}])
        attacked = engine.chat_format.render([{"role": "user", "content": text}])
        control = [token for token in attacked if tokenizer.is_control(token)]
        assert control == [token for token in turns if tokenizer.is_control(token)]

    check()


@pytest.mark.parametrize("which", ["tiny", "bundled"])
def test_spliced_ids_stand_unchanged(which: str, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(which)
    tokenizer = engine.tokenizer
    # "lo wor" cut where the tokenizer itself would never cut.
    parts = ["Read: ", tokenizer.encode("hel") + tokenizer.encode("lo wor"), tokenizer.encode("ld"), "?"]
    ids = engine.chat_format.render([{"role": "user", "content": parts}])
    inside = [
        token for part in parts for token in (tokenizer.encode(part) if isinstance(part, str) else part)
    ]
    assert any(ids[at : at + len(inside)] == inside for at in range(len(ids)))
    assert "Read: hello world?" in tokenizer.decode(ids)


@pytest.mark.parametrize(
    "messages",
    [[], [{"role": "admin", "content": "x"}], [{"role": "user"}], [{"role": "user", "content": 3}]],
)
def test_malformed_dialogues_are_refused(tiny: Engine, messages: list[dict[str, object]]) -> None:
    with pytest.raises(ChatFormatError):
        tiny.chat_format.render(messages)  # type: ignore[arg-type]


def test_an_unknown_template_refuses_chat_and_still_generates(tmp_path: Path) -> None:
    engine = Engine.load(write_folder(tmp_path, tiny_model(), template=False), device="cpu", dtype="float32")
    with pytest.raises(ChatFormatError, match="chat template"):
        engine.chat([{"role": "user", "content": "x"}])
    assert list(engine.generate([1, 2], SamplingParams(max_tokens=1)))[-1].completion_tokens == 1


def test_recognition_goes_by_the_template(tiny: Engine, bundled: Engine) -> None:
    assert isinstance(tiny.chat_format, Llama3Chat)
    assert isinstance(bundled.chat_format, ChatML)
    assert bundled.chat_format.default_system.startswith("You are a helpful AI assistant named SmolLM")
    assert recognise(bundled.tokenizer, "[INST] {{ message.content }} [/INST]") is None
    assert recognise(tiny.tokenizer, "{{ '<|im_start|>' + message['role'] }}") is None


@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_llama31_is_what_its_own_template_and_tokenizer_write(
    llama31: Tokenizer, case: dict[str, Any]
) -> None:
    assert Llama3Chat(llama31).render(case["messages"], **case["options"]) == case["ids"]


def test_the_golden_dialogues_have_every_role_and_language() -> None:
    languages = {case["name"].partition(":")[0] for case in GOLDEN} & {
        "en",
        "de",
        "fr",
        "it",
        "pt",
        "hi",
        "es",
        "th",
    }
    roles = {message["role"] for case in GOLDEN for message in case["messages"]}
    assert languages == {"en", "de", "fr", "it", "pt", "hi", "es", "th"}
    assert roles == {"system", "user", "assistant", "tool", "ipython"}


HOSTILE = st.lists(
    st.sampled_from([
        "<|eot_id|>", "<|eom_id|>", "<|python_tag|>", "<|begin_of_text|>", "<|start_header_id|>", "<|",
        "<|end_header_id|>", "<|end_of_text|>", "<|reserved_special_token_7|>", "<function=f>", "</function>",
        "\n\n", "|>", "a", '"', "\\", "\ud800",
    ]), max_size=5,
).map("".join)  # fmt: skip


@given(
    st.tuples(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE),
    st.sampled_from(["json", "function_tag"]),
    st.sampled_from(["user", "system"]),
)
def test_no_field_can_say_a_control_token(
    llama31: Tokenizer, fields: tuple[str, ...], style: Any, place: Any
) -> None:
    def control(fields: tuple[str, ...]) -> list[int]:
        system, user, key, value, result, date = fields
        schema = {"type": "object", "properties": {key: {"description": value}}}
        tool = {"name": "f", "description": value, "parameters": schema}
        called = [
            {"id": value, "name": "f", "arguments": {key: {value: [key]}}},
            {"name": "brave_search", "arguments": {"query": value}},
            {"name": "code_interpreter", "arguments": {"code": value}},
            {"name": "f", "arguments": value},
        ]
        messages = [
            {"role": "system", "content": system},
            {"role": "user", "content": user},
            {"role": "assistant", "content": user, "tool_calls": called},
            {"role": "tool", "content": result},
            {"role": "ipython", "content": {key: result}},
            {"role": "user", "content": [user, [1, 2], result]},
        ]
        ids = Llama3Chat(llama31).render(
            messages, tools=[tool], builtin=BUILTIN_TOOLS, tool_style=style, tool_place=place, date=date
        )
        return [token for token in ids if llama31.is_control(token)]

    assert control(fields) == control(("s", "u", "k", "v", "r", "d"))


@pytest.mark.parametrize("role", ["<|eot_id|>", "system<|end_header_id|>", "", "System"])
def test_no_role_can_say_more_than_a_role(llama31: Tokenizer, role: str) -> None:
    with pytest.raises(ChatFormatError, match="role"):
        Llama3Chat(llama31).render([{"role": role, "content": "x"}])


def test_results_of_tools_stand_as_they_are(llama31: Tokenizer) -> None:
    ids = Llama3Chat(llama31).render([{"role": "tool", "content": "\n{}\n"}], add_generation_prompt=False)
    assert llama31.decode(ids) == "ipython\n\n\n{}\n"


def test_tools_need_a_format_and_a_vocabulary_that_have_them(bundled: Engine, tiny: Engine) -> None:
    user = {"role": "user", "content": "x"}
    tool = {"name": "f", "parameters": {"type": "object"}}
    for options in ({"tools": [tool]}, {"builtin": BUILTIN_TOOLS}, {"date": "26 Jul 2024"}):
        with pytest.raises(ChatFormatError, match="ChatML"):
            bundled.chat_format.render([user], **options)
    with pytest.raises(ChatFormatError, match="ChatML"):
        bundled.chat_format.render([user, {"role": "assistant", "content": "", "tool_calls": [tool]}])
    control = {name: index for name, index in tiny.tokenizer.control.items() if name != "<|eom_id|>"}
    old = Llama3Chat(replace(tiny.tokenizer, control=control))
    search = {"role": "assistant", "tool_calls": [{"name": "brave_search", "arguments": {"query": "x"}}]}
    with pytest.raises(ChatFormatError, match=r"eom_id.*3\.1"):
        old.render([user, search], builtin=BUILTIN_TOOLS)


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant", "content": "x"}, {"role": "user", "content": "x"}],
        [{"role": "system", "content": "x"}],
    ],
)
def test_tools_in_the_user_turn_need_one(llama31: Tokenizer, messages: list[dict[str, Any]]) -> None:
    with pytest.raises(ChatFormatError, match="first user message"):
        Llama3Chat(llama31).render(messages, tools=[{"name": "f"}])


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "x", "tool_calls": [{"name": "f"}]},
        {"role": "assistant", "content": "x", "tool_calls": {"name": "f"}},
        {"role": "assistant", "content": 3, "tool_calls": [{"name": "f"}]},
        {"role": "user", "content": {"a": 1}},
        {"role": "assistant", "content": None},
    ],
)
def test_malformed_messages_are_refused(llama31: Tokenizer, message: dict[str, Any]) -> None:
    with pytest.raises(ChatFormatError):
        Llama3Chat(llama31).render([message])
