"""Dialogues to token ids, without a template engine.

Control tokens are placed as ids and every text is encoded with control tokens out of reach, so nothing a
user or a document says can open or close a turn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from model.errors import ChatFormatError
from model.text.tokenizer import Tokenizer

Content: TypeAlias = "str | Sequence[str | Sequence[int]]"
"""A text, or parts in order: texts, encoded one by one, and token ids, taken as they are."""

Message: TypeAlias = Mapping[str, Content]
"""`{"role": …, "content": …}`; roles are system, user, assistant and tool (also ipython)."""

_ROLES = frozenset({"system", "user", "assistant", "tool", "ipython"})


class ChatFormat(Protocol):
    """A model family's way to write a dialogue."""

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> list[int]:
        """Token ids of a dialogue, BOS included where the model wants one.

        Ids given as parts of a content stand in the result unchanged and uncut, between what the turn
        itself adds: nothing is tokenised again.

        Args:
            add_generation_prompt: open the assistant's turn at the end.

        Raises:
            ChatFormatError: no messages, an unknown role, or a content of another type.
        """
        ...


@dataclass(frozen=True)
class Llama3Chat:
    """The dialogue format of Llama 3 and 3.1.

    A turn is `<|start_header_id|>role<|end_header_id|>\\n\\n`, the stripped text, `<|eot_id|>`. The
    template's date lines in the system turn are left out: they would change every prompt at midnight.
    """

    tokenizer: Tokenizer

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> list[int]:
        """See `ChatFormat.render`."""
        ids = [self.tokenizer.control["<|begin_of_text|>"]]
        for message in _checked(messages):
            content = message["content"]
            ids += self._header(str(message["role"]))
            ids += _encode(self.tokenizer, content.strip() if isinstance(content, str) else content)
            ids.append(self.tokenizer.control["<|eot_id|>"])
        return ids + self._header("assistant") if add_generation_prompt else ids

    def _header(self, role: str) -> list[int]:
        control, name = self.tokenizer.control, "ipython" if role == "tool" else role
        inside = self.tokenizer.encode(name)
        return [
            control["<|start_header_id|>"],
            *inside,
            control["<|end_header_id|>"],
            *self.tokenizer.encode("\n\n"),
        ]


@dataclass(frozen=True)
class ChatML:
    """`<|im_start|>role\\n`, the text, `<|im_end|>\\n`, as in SmolLM2.

    Attributes:
        default_system: system text that is put first when the dialogue has none, None for nothing.
    """

    tokenizer: Tokenizer
    default_system: str | None

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> list[int]:
        """See `ChatFormat.render`."""
        checked = list(_checked(messages))
        if self.default_system is not None and checked[0]["role"] != "system":
            checked.insert(0, {"role": "system", "content": self.default_system})
        ids = [] if self.tokenizer.bos_id is None else [self.tokenizer.bos_id]
        for message in checked:
            ids += self._turn(str(message["role"]), message["content"])
        return ids + self._turn("assistant", None) if add_generation_prompt else ids

    def _turn(self, role: str, content: Content | None) -> list[int]:
        start, end = self.tokenizer.control["<|im_start|>"], self.tokenizer.control["<|im_end|>"]
        if content is None:
            return [start, *self.tokenizer.encode(f"{role}\n")]
        if isinstance(content, str):
            # The template writes role and text as one string, and the tokenizer may join across the seam.
            return [start, *self.tokenizer.encode(f"{role}\n{content}"), end, *self.tokenizer.encode("\n")]
        inside = _encode(self.tokenizer, content)
        return [start, *self.tokenizer.encode(f"{role}\n"), *inside, end, *self.tokenizer.encode("\n")]


def recognise(tokenizer: Tokenizer, template: str | None) -> ChatFormat | None:
    """The format that a checkpoint's chat template writes; None for no template or one that is not known."""
    if template is None:
        return None
    llama = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    if all(name in tokenizer.control for name in llama) and all(name in template for name in llama[1:]):
        return Llama3Chat(tokenizer)
    # Newlines stand in templates as themselves or as backslash n; quotes are of either kind.
    flat = re.sub(r"\s+|\\n", "", template).replace('"', "'")
    chatml = "'<|im_start|>'+message['role']+''+message['content']+'<|im_end|>'"
    if all(name in tokenizer.control for name in ("<|im_start|>", "<|im_end|>")) and chatml in flat:
        default = re.search(r"<\|im_start\|>system(?:\\n|\n)([^{}+]*?)<\|im_end\|>", template)
        return ChatML(tokenizer, default.group(1) if default else None)
    return None


def _checked(messages: Sequence[Message]) -> Sequence[Message]:
    if not messages:
        raise ChatFormatError("the dialogue is empty; give at least one message")
    for index, message in enumerate(messages):
        if message.get("role") not in _ROLES:
            known = ", ".join(sorted(_ROLES))
            raise ChatFormatError(
                f"message {index} has role {message.get('role')!r}; these are known: {known}"
            )
        if not isinstance(message.get("content"), (str, list, tuple)):
            kind = type(message.get("content")).__name__
            raise ChatFormatError(f"message {index} has a content of type {kind}; give a text or parts")
    return messages


def _encode(tokenizer: Tokenizer, content: Content) -> list[int]:
    if isinstance(content, str):
        return tokenizer.encode(content)
    ids: list[int] = []
    for part in content:
        ids += tokenizer.encode(part) if isinstance(part, str) else part
    return ids
