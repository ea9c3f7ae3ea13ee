"""What a constraint allows is what it says, token by token, whatever the model would rather write."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
import torch
from checkpoints import tiny_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from model import Engine, Finished, ParameterError, SamplingParams, TokenEvent, Tokenizer
from model.constraints import ConstraintSpec, JsonSchema, Regex, Span, TokenSet, bind
from model.constraints.span import SpanConstraint
from model.errors import ConstraintError
from model.logprobs import token_logprobs
from model.sampling import Sampler
from model.text.vocabulary import tokenizer_from_folder

STOP = 9


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return tokenizer_from_folder(folder)


def random_model(seed: int, size: int) -> Callable[[Sequence[int]], torch.Tensor]:
    """Logits that depend on all tokens before, as a model's do."""

    def logits(tokens: Sequence[int]) -> torch.Tensor:
        generator = torch.Generator().manual_seed(hash((seed, *tokens)) % 2**62)
        return torch.randn(size, generator=generator) * 3

    return logits


def write(
    tokenizer: Tokenizer,
    params: SamplingParams,
    *,
    prompt: Sequence[int] = (1,),
    stops: Collection[int] | None = None,
    model_seed: int = 0,
    drafts: Callable[[Sampler, int], Sequence[int]] = lambda _sampler, _step: (),
    most: int = 2000,
) -> tuple[list[int], bool]:
    """Tokens of an answer, and whether it ended by itself; a step checks all rows of a draft."""
    stops = tokenizer.stop_ids if stops is None else stops
    size = tokenizer.vocab_size
    model, like = random_model(model_seed, size), torch.empty(size)
    constraint = params.constraint and bind(params.constraint, tokenizer, prompt, stops)
    sampler, written = Sampler(params, prompt, like, constraint), list[int]()
    for step in itertools.count():
        draft = [*drafts(sampler, step)]
        for row in range(len(draft) + 1):
            whole = sampler.finished
            token = sampler.next(model([*written])).token
            if token in stops:
                return written, True
            assert not whole
            written.append(token)
            if len(written) == most:
                return written, False
            if row < len(draft) and token != draft[row]:
                break
    raise AssertionError


def valid_spans(prompt: Sequence[int], spec: Span) -> set[tuple[int, ...]]:
    """Every answer that a `Span` stands for, written out from its definition."""
    spans = {
        tuple(prompt[a:b])
        for start, end in spec.ranges
        for a in range(start, end)
        for b in range(a + spec.min_tokens, min(end, a + (spec.max_tokens or end)) + 1)
        if STOP not in prompt[a:b]
    }
    answers = set(spans)
    for _ in range(spec.max_spans - 1):
        answers |= {(*answer, *spec.separator, *span) for answer in answers for span in spans}
    return answers


@st.composite
def span_cases(draw: st.DrawFn) -> tuple[list[int], Span]:
    # Few different tokens, so that spans occur in several places and the separator is text too.
    prompt = draw(st.lists(st.sampled_from([0, 1, 2, 3, STOP]), min_size=1, max_size=7))
    cuts = st.integers(0, len(prompt))
    pair = st.tuples(cuts, cuts).filter(lambda each: each[0] < each[1])
    pairs = draw(st.lists(pair, min_size=1, max_size=2))
    shortest = draw(st.integers(1, 3))
    longest = draw(st.none() | st.integers(shortest, 4))
    separator = tuple(draw(st.lists(st.integers(0, 4), min_size=1, max_size=2)))
    return prompt, Span(tuple(pairs), shortest, longest, draw(st.integers(1, 2)), separator)


@given(span_cases())
def test_a_span_allows_exactly_the_beginnings_of_what_it_stands_for(case: tuple[list[int], Span]) -> None:
    prompt, spec = case
    answers = valid_spans(prompt, spec)
    if not answers:
        with pytest.raises(ParameterError, match="min_tokens"):
            SpanConstraint(spec, prompt, [STOP])
        return
    following: dict[tuple[int, ...], set[int]] = {}
    for answer in answers:
        for size in range(len(answer)):
            following.setdefault(answer[:size], set()).add(answer[size])
        following.setdefault(answer, set()).add(STOP)
    for beginning in sorted(following, key=hash)[:150]:
        constraint = SpanConstraint(spec, prompt, [STOP])
        for token in beginning:
            constraint.advance(token)
        allowed = constraint.allowed()
        assert allowed.dtype == np.int64
        assert allowed.tolist() == sorted(following[beginning])
        assert constraint.finished == (following[beginning] == {STOP})
        assert set(constraint.forced()) == (
            following[beginning] if len(following[beginning]) == 1 and not constraint.finished else set()
        )


def test_a_span_ends_at_the_end_of_its_range() -> None:
    constraint = SpanConstraint(Span(((1, 3),)), [7, 5, 6, 7], [STOP])
    for token in (5, 6):
        constraint.advance(token)
    assert constraint.finished
    assert constraint.allowed().tolist() == [STOP]


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    text = st.sampled_from(["a", 'b"c', "é", "日本", "x y"])
    leaves = st.one_of(
        st.just({"type": "boolean"}),
        st.just({"type": "null"}),
        st.just({"type": "string", "maxLength": 4}),
        st.just({"type": "string", "pattern": "^[a-c]{1,3}$"}),
        st.just({"type": "string", "format": "date"}),
        st.tuples(st.integers(-50, 50), st.integers(0, 500)).map(
            lambda each: {"type": "integer", "minimum": each[0], "maximum": each[0] + each[1]}
        ),
        st.lists(text, min_size=1, max_size=3, unique=True).map(lambda each: {"enum": each}),
        text.map(lambda each: {"const": each}),
    )

    def deeper(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        arrays = st.builds(lambda each, most: {"type": "array", "items": each, "maxItems": most}, inner,
                           st.integers(0, 3))  # fmt: skip
        objects = st.builds(
            lambda parts, needed: {
                "type": "object",
                "properties": parts,
                "required": [name for name in parts if name in needed],
                "additionalProperties": False,
            },
            st.dictionaries(text, inner, max_size=3),
            st.sets(text),
        )
        return arrays | objects | st.lists(inner, min_size=1, max_size=2).map(lambda each: {"anyOf": each})

    return st.recursive(leaves, deeper, max_leaves=6)


@given(schema=schemas(), seed=st.integers(0, 2**32), temperature=st.sampled_from([0.0, 1.0, 5.0]))
def test_json_parses_and_is_valid_whatever_the_model(
    tokenizer: Tokenizer, schema: dict[str, Any], seed: int, temperature: float
) -> None:
    params = SamplingParams(temperature=temperature, seed=seed, constraint=JsonSchema(schema))
    tokens, ended = write(tokenizer, params, model_seed=seed)
    assert ended
    answer = b"".join(map(tokenizer.token_bytes, tokens)).decode("utf-8")
    assert jsonschema_rs.is_valid(schema, json.loads(answer)), answer
    assert not any(map(tokenizer.is_control, tokens))


@given(
    pattern=st.sampled_from(
        [
            r"[0-9]{3}-[a-f]+",
            r"(yes|no|maybe)",
            r"(ab)*c?",
            r"[^x]{2,5}",
            r"\[[1-4]\](, \[[1-4]\]){0,2}",
            "été|日本",
        ]
    ),
    seed=st.integers(0, 2**32),
)
def test_the_whole_answer_matches_the_pattern(tokenizer: Tokenizer, pattern: str, seed: int) -> None:
    params = SamplingParams(temperature=1, seed=seed, constraint=Regex(pattern))
    tokens, ended = write(tokenizer, params, model_seed=seed)
    assert ended
    answer = b"".join(map(tokenizer.token_bytes, tokens)).decode("utf-8")
    assert re.fullmatch(pattern, answer), answer


@given(ids=st.sets(st.integers(0, 400), min_size=1, max_size=5), seed=st.integers(0, 1000))
def test_a_token_set_holds_every_token(tokenizer: Tokenizer, ids: set[int], seed: int) -> None:
    params = SamplingParams(temperature=1, seed=seed, constraint=TokenSet(tuple(ids)))
    tokens, _ = write(tokenizer, params, model_seed=seed, most=50)
    assert tokens
    assert set(tokens) <= ids


@given(
    spec=st.sampled_from(
        [
            None,
            Span(((2, 9), (5, 20)), 2, 6, 3, (44,)),
            JsonSchema(
                {"type": "object", "properties": {"name": {"enum": ["a", "b"]}}, "required": ["name"]}
            ),
            Regex("(the quick|brown fox){1,3}"),
            TokenSet((1, 2, 3)),
        ]
    ),
    temperature=st.sampled_from([0.0, 0.8]),
    seed=st.integers(0, 1000),
    guesses=st.randoms(use_true_random=False),
)
def test_a_draft_changes_no_token(
    tokenizer: Tokenizer, spec: ConstraintSpec | None, temperature: float, seed: int, guesses: Any
) -> None:
    params = SamplingParams(
        temperature=temperature,
        seed=seed,
        top_p=0.9,
        constraint=spec,
        presence_penalty=1,
        repetition_penalty=1.2,
    )
    prompt = tokenizer.encode("the quick brown fox jumps over the lazy dog, and the quick brown fox sleeps")
    plain = write(tokenizer, params, prompt=prompt, model_seed=seed, most=40)

    def drafts(sampler: Sampler, step: int) -> Sequence[int]:
        if step % 2:
            return sampler.forced()
        # What follows in truth, up to a wrong guess.
        done = next(progress)
        return [*plain[0][done : done + guesses.randint(0, 4)], guesses.randint(0, 100)]

    progress = itertools.count(0, 2)
    assert write(tokenizer, params, prompt=prompt, model_seed=seed, most=40, drafts=drafts) == plain


def test_what_is_forced_is_what_comes_where_the_model_agrees_on_the_cut(tokenizer: Tokenizer) -> None:
    constraint = bind(Regex('"answer": [0-9]'), tokenizer, (), tokenizer.stop_ids)
    forced = constraint.forced()
    assert b"".join(map(tokenizer.token_bytes, forced)).startswith(b'"answer"')
    for token in forced:
        assert token in constraint.allowed().tolist()  # type: ignore[union-attr]
        constraint.advance(token)


def test_an_id_that_ends_the_answer_is_no_content(tokenizer: Tokenizer) -> None:
    comma = tokenizer.encode(",")[0]
    stops = {*tokenizer.stop_ids, comma}
    constraint = bind(Regex("a,b"), tokenizer, (), stops)
    constraint.advance(tokenizer.encode("a")[0])
    allowed = constraint.allowed()
    assert allowed is not None
    assert comma not in allowed
    sampler = Sampler(SamplingParams(), (), torch.zeros(tokenizer.vocab_size), constraint)
    with pytest.raises(ConstraintError, match="no token"):
        sampler.next(torch.zeros(tokenizer.vocab_size))
    params = SamplingParams(temperature=1, seed=1, constraint=Regex("[ab]{2,}"))
    tokens, ended = write(tokenizer, params, stops={*tokenizer.stop_ids, tokenizer.encode("c")[0]})
    assert ended
    assert len(b"".join(map(tokenizer.token_bytes, tokens))) >= 2


def test_no_control_token_is_content(tokenizer: Tokenizer) -> None:
    constraint = bind(Regex(".*"), tokenizer, (), tokenizer.stop_ids)
    allowed = constraint.allowed()
    assert allowed is not None
    assert {each for each in allowed.tolist() if tokenizer.is_control(each)} == set(tokenizer.stop_ids)


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (lambda: JsonSchema("{"), "not JSON"),
        (lambda: JsonSchema("3"), "give an object"),
        (lambda: JsonSchema({"a": object()}), "not JSON"),
        (lambda: JsonSchema({"type": "strin"}), "strin"),
        (lambda: JsonSchema({"type": "array", "uniqueItems": True}), "uniqueItems"),
        (lambda: JsonSchema({"uniqueItems": True, "x-guidance": {"lenient": True}}), "uniqueItems"),
        (lambda: JsonSchema({"$ref": "http://127.0.0.1/schema"}), "http://127.0.0.1/schema"),
        (lambda: Regex("a{3"), "unclosed"),
        (lambda: Regex("(?=a)b"), "look-around"),
        (lambda: TokenSet(()), "at least one"),
        (lambda: TokenSet((-1,)), "-1"),
        (lambda: TokenSet((99_999,)), "99999"),
        (lambda: Span(()), "at least one range"),
        (lambda: Span(((3, 3),)), r"\(3, 3\)"),
        (lambda: Span(((0, 9),)), "the prompt has 4"),
        (lambda: Span(((0, 2),), min_tokens=3), "longest range has 2"),
        (lambda: Span(((0, 2),), min_tokens=2, max_tokens=1), "max_tokens"),
        (lambda: Span(((0, 2),), max_spans=2), "separator"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(
    tokenizer: Tokenizer, spec: Callable[[], ConstraintSpec], named: str
) -> None:
    with pytest.raises(ParameterError, match=named):
        bind(spec(), tokenizer, (1, 2, 3, 4), tokenizer.stop_ids)


def test_an_answer_needs_an_end(tokenizer: Tokenizer) -> None:
    with pytest.raises(ParameterError, match="stop id"):
        bind(TokenSet((1,)), tokenizer, (), ())
    with pytest.raises(ParameterError, match="ignore_eos"):
        SamplingParams(ignore_eos=True, constraint=TokenSet((1,)))
    with pytest.raises(ParameterError, match="a stop id"):
        bind(Span(((0, 1),), separator=(min(tokenizer.stop_ids),)), tokenizer, (1,), tokenizer.stop_ids)


def test_without_the_library_the_error_says_what_to_install(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "llguidance", None)
    with pytest.raises(ConstraintError, match="pip install llguidance"):
        bind(Regex("a"), tokenizer, (), tokenizer.stop_ids)
    bind(TokenSet((1,)), tokenizer, (), tokenizer.stop_ids)


def events_of(engine: Engine, ids: list[int], params: SamplingParams) -> tuple[list[TokenEvent], Finished]:
    events = list(engine.generate(ids, params))
    assert isinstance(events[-1], Finished)
    return [event for event in events if isinstance(event, TokenEvent)], events[-1]


def test_an_engine_writes_what_the_constraint_says_and_stops(tiny: Engine) -> None:
    text = "The quick brown fox jumps over the lazy dog, and it's 12345 times that he's done it."
    ids = tiny.tokenizer.encode(text)
    for seed in range(3):
        settings: dict[str, Any] = {"temperature": 1.5, "seed": seed, "max_tokens": 300}
        schema = {"type": "object", "properties": {"n": {"enum": ["a", "b"]}, "ok": {"type": "boolean"}}}
        schema = {**schema, "required": ["n", "ok"], "additionalProperties": False}
        _, end = events_of(tiny, ids, SamplingParams(constraint=JsonSchema(schema), **settings))
        assert end.reason == "stop"
        assert jsonschema_rs.is_valid(schema, json.loads(end.text))
        spans = Span(((0, 12), (14, len(ids))), min_tokens=3, max_tokens=9)
        _, end = events_of(tiny, ids, SamplingParams(constraint=spans, **settings))
        assert end.reason == "stop"
        assert end.text
        assert end.text in text
    with pytest.raises(ParameterError, match="strin"):
        tiny.generate(ids, SamplingParams(constraint=JsonSchema({"type": "strin"})))


def test_an_engines_logprobs_are_those_of_its_logits(tiny: Engine) -> None:
    ids = tiny.tokenizer.encode("The quick brown fox")
    params = SamplingParams(
        temperature=1, seed=2, max_tokens=12, logprobs=True, top_logprobs=2, constraint=Regex("[a-z ]{20,60}")
    )
    events, _ = events_of(tiny, ids, params)
    written = [event.token_id for event in events]
    given = [event.logprob for event in events]
    # Of the head's rows that are tokens: this model has padding.
    rows = tiny.logits(ids + written)[len(ids) - 1 : -1, : tiny.tokenizer.vocab_size]
    assert given == pytest.approx(token_logprobs(rows, torch.tensor(written)).tolist(), abs=1e-3)
    assert all(len(event.top_logprobs) == 2 for event in events)
