"""Dialogues as token ids, and texts that try to be more than text."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoints import CONTROL, tiny_model, write_folder
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from model import ChatFormatError, Engine, SamplingParams
from model.text.chat import ChatML, Llama3Chat, recognise
from model.weights.hub import bundled as bundled_file

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
