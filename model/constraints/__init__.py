"""Constraints on what is written: JSON schema, regular expression, token set, spans of the prompt."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from model.constraints.base import Constraint, ConstraintSpec, JsonSchema, Regex, Span, TokenSet
from model.constraints.grammar import GrammarConstraint
from model.constraints.span import SpanConstraint
from model.constraints.tokenset import TokenSetConstraint
from model.errors import ParameterError
from model.text.tokenizer import Tokenizer

__all__ = ["Constraint", "ConstraintSpec", "JsonSchema", "Regex", "Span", "TokenSet", "bind"]


def bind(
    spec: ConstraintSpec, tokenizer: Tokenizer, prompt: Sequence[int], stop_ids: Collection[int]
) -> Constraint:
    """The state that a constraint starts an answer with.

    May take some milliseconds, the first grammar of a tokenizer some hundred: call it where the request comes
    in, not where it is stepped.

    Args:
        prompt: whose ranges a `Span` names.
        stop_ids: ids that end this answer.

    Raises:
        ParameterError: the schema, pattern, ids or ranges are not usable, or no id ends the answer.
        ConstraintError: grammars are not installed.
    """
    stops = sorted(each for each in stop_ids if each < tokenizer.vocab_size)
    if not stops:
        raise ParameterError("a constrained answer needs a stop id to end with: give stop_token_ids")
    match spec:
        case TokenSet():
            return TokenSetConstraint(spec, stops, tokenizer.vocab_size)
        case Span():
            return SpanConstraint(spec, prompt, stops)
        case _:
            return GrammarConstraint(spec, tokenizer, stops)
