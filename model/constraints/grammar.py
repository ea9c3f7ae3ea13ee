"""Answers by a grammar, a JSON schema or a regular expression: llguidance says which tokens may follow.

llguidance is optional: it is imported when the first such request comes.
"""

from __future__ import annotations

import importlib
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from model.constraints.base import Ids, JsonSchema, Regex
from model.errors import ConstraintError, ParameterError
from model.text.tokenizer import Tokenizer

_JSON = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": False}
"""Overrides what a schema says under "x-guidance"."""

_known: weakref.WeakKeyDictionary[Tokenizer, Any] = weakref.WeakKeyDictionary()
_known_lock = threading.Lock()


class GrammarConstraint:
    """Follows one answer through a grammar."""

    def __init__(self, spec: JsonSchema | Regex, tokenizer: Tokenizer, stop_ids: Sequence[int]) -> None:
        """
        Raises:
            ParameterError: the schema or pattern is malformed, uses what llguidance does not know, or matches
                nothing.
            ConstraintError: llguidance is not installed.
        """
        library = _library()
        what = "JSON schema" if isinstance(spec, JsonSchema) else "regular expression"
        try:
            if isinstance(spec, JsonSchema):
                grammar = library.LLMatcher.grammar_from_json_schema(spec.schema, overrides=_JSON)
            else:
                grammar = library.LLMatcher.grammar_from_regex(spec.pattern)
        except ValueError as error:
            raise ParameterError(f"the {what} cannot be used: {error}") from error
        self._matcher = library.LLMatcher(_vocabulary(library, tokenizer), grammar, log_level=0)
        trouble = self._matcher.get_error() or "; ".join(self._matcher.get_grammar_warnings())
        if trouble:
            raise ParameterError(f"the {what} cannot be used: {trouble}")
        self._stops = np.array(stop_ids, dtype=np.int64)
        self._bits = np.zeros((tokenizer.vocab_size + 31) // 32, dtype=np.uint32)
        self._over = False

    @property
    def finished(self) -> bool:
        # `is_stopped` is what a matcher in trouble says too; `allowed` then raises.
        return self._over or bool(self._matcher.is_stopped() and not self._matcher.is_error())

    def allowed(self) -> Ids:
        if self.finished:
            return self._stops
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        if self._matcher.is_error():
            raise ConstraintError(f"the grammar gave up: {self._matcher.get_error()}")
        mask = np.unpackbits(self._bits.view(np.uint8), bitorder="little")
        # llguidance knows one stop id of the model's; an answer may have others, ordinary tokens among them.
        mask[self._stops] = self._matcher.is_accepting()
        return np.flatnonzero(mask)

    def advance(self, token: int) -> None:
        if token in self._stops:
            self._over = True
        elif not self._matcher.consume_token(token):
            raise ConstraintError(f"token {token} is not in the grammar: {self._matcher.get_error()}")

    def forced(self) -> tuple[int, ...]:
        if self.finished or self._matcher.is_error():
            return ()
        return tuple(self._matcher.compute_ff_tokens())


def _library() -> Any:
    try:
        return importlib.import_module("llguidance")
    except ImportError as error:
        raise ConstraintError(
            "JSON schemas and regular expressions need llguidance: pip install llguidance"
        ) from error


def _vocabulary(library: Any, tokenizer: Tokenizer) -> Any:
    """llguidance's form of a tokenizer, built once: it takes some 0.1 s."""
    with _known_lock:
        if tokenizer not in _known:
            wrapped = library.TokenizerWrapper(_Bytes(tokenizer))
            _known[tokenizer] = library.LLTokenizer(wrapped, n_vocab=tokenizer.vocab_size)
        return _known[tokenizer]


class _Bytes:
    """A tokenizer as llguidance's wrapper reads it, without a reference that would keep it alive."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        stops = sorted(tokenizer.stop_ids) or sorted(tokenizer.control.values()) or [0]
        self.eos_token_id = stops[0]
        self.bos_token_id = tokenizer.bos_id
        self.special_token_ids = sorted({*tokenizer.control.values(), stops[0]})
        self.tokens = [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)]
        self._encode = tokenizer._plain.encode

    def __call__(self, text: str | bytes) -> list[int]:
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        ids: list[int] = self._encode(text, add_special_tokens=False).ids
        return ids
