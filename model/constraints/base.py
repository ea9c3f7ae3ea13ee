"""What the next token may be: what a request asks for, and the interface that the sampler calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.errors import ParameterError

Ids: TypeAlias = NDArray[np.int64]


class Constraint(Protocol):
    """The state of one constrained answer. It only ever hears of tokens that were chosen, in order.

    A stop id is allowed exactly where the answer may end: one that ends the answer earlier is refused even
    where the same id would be ordinary content.
    """

    @property
    def finished(self) -> bool:
        """Whether only a stop id can follow."""

    def allowed(self) -> Ids | None:
        """Ids that may come next, ascending, [k]; None allows every id. Empty: a dead end.

        Raises:
            ConstraintError: the constraint cannot be computed any further.
        """

    def advance(self, token: int) -> None:
        """Take note of the token that was chosen out of `allowed()`."""

    def forced(self) -> tuple[int, ...]:
        """Guesses of the next tokens where what follows is certain: good drafts, but not binding."""


@dataclass(frozen=True)
class JsonSchema:
    """The answer is one JSON value that is valid against a schema (JSON Schema 2020-12 and older drafts).

    Written as `json.dumps` does it: ", " and ": ", no other white space, which a small model could otherwise
    go on with for ever.

    Attributes:
        schema: an object, or its JSON text; kept as text.

    Raises:
        ParameterError: not an object that JSON can express.
    """

    schema: Mapping[str, Any] | str

    def __post_init__(self) -> None:
        try:
            value = json.loads(self.schema) if isinstance(self.schema, str) else self.schema
            text = json.dumps(value)
        except (ValueError, TypeError, RecursionError) as error:
            raise ParameterError(f"the JSON schema is not JSON: {error}") from error
        if not isinstance(value, Mapping):
            raise ParameterError(f"the JSON schema is {text[:80]}; give an object")
        object.__setattr__(self, "schema", text)


@dataclass(frozen=True)
class Regex:
    """The whole answer matches a pattern in the syntax of Rust's regex crate.

    There are no look-arounds and no back-references; `^` and `$` at the ends are superfluous.
    """

    pattern: str


@dataclass(frozen=True)
class TokenSet:
    """Every token is one of `ids`; the answer may end after the first.

    Raises:
        ParameterError: no ids, or a negative one.
    """

    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(self.ids))
        if not self.ids or min(self.ids) < 0:
            raise ParameterError(
                f"the ids of a token set are {self.ids[:8]}; give at least one, none negative"
            )


@dataclass(frozen=True)
class Span:
    """The answer is one or several contiguous spans of the prompt's tokens.

    Attributes:
        ranges: `(start, end)` positions in the prompt that spans are taken from; no span crosses from one
            range into another, nor over a stop id.
        min_tokens: shortest span.
        max_tokens: longest span; None for no limit.
        max_spans: most spans.
        separator: ids between two spans.

    Raises:
        ParameterError: a value out of range, with its limits.
    """

    ranges: tuple[tuple[int, int], ...]
    min_tokens: int = 1
    max_tokens: int | None = None
    max_spans: int = 1
    separator: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "ranges", tuple((start, end) for start, end in self.ranges))
        object.__setattr__(self, "separator", tuple(self.separator))
        wrong = next((each for each in self.ranges if not 0 <= each[0] < each[1]), None)
        if not self.ranges or wrong:
            raise ParameterError(f"the span range is {wrong}; allowed: 0 <= start < end, at least one range")
        if self.min_tokens < 1:
            raise ParameterError(f"min_tokens of a span is {self.min_tokens}; allowed: at least 1")
        if self.max_tokens is not None and self.max_tokens < self.min_tokens:
            limits = f"allowed: None, or at least min_tokens, {self.min_tokens}"
            raise ParameterError(f"max_tokens of a span is {self.max_tokens}; {limits}")
        if self.max_spans < 1:
            raise ParameterError(f"max_spans is {self.max_spans}; allowed: at least 1")
        if self.max_spans > 1 and not self.separator:
            raise ParameterError("the separator of spans is empty; give its ids, or max_spans=1")


ConstraintSpec: TypeAlias = JsonSchema | Regex | TokenSet | Span
