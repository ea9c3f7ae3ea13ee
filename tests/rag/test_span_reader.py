"""The reader: what it makes of a passage that says what is asked, and of one that does not."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bench.reader_model import Adapter, TrainedReader
from rag.embedders import Embedder, load_embedder
from rag.settings import Settings
from rag.span_reader import PAIR_TOKENS, WEIGHTS, SpanReader, likeliest, pair, reader_for

PAIRS = [
    (
        "When was the mill at Harrow Bridge built?",
        "The mill at Harrow Bridge was built in 1742 by two brothers from Leeds.",
        "The mill at Harrow Bridge stands beside the river and belongs to the parish.",
    ),
    (
        "Wer leitete die Grabungen in der Höhle?",
        "Die Grabungen in der Höhle leitete Anna Weber von der Universität Jena.",
        "Die Grabungen in der Höhle dauerten zwei Sommer und brachten viele Scherben ans Licht.",
    ),
    (
        "¿Cuántos habitantes tiene la isla?",
        "La isla tiene 4.300 habitantes, que viven sobre todo de la pesca.",
        "La isla se encuentra al norte del archipiélago y es de origen volcánico.",
    ),
    (
        "पुल की लंबाई कितनी है?",
        "पुल की लंबाई 820 मीटर है और यह नदी के दोनों किनारों को जोड़ता है।",
        "पुल नदी के दोनों किनारों को जोड़ता है और रात में रोशन रहता है।",
    ),
]

ANSWERS = {"1742", "Anna Weber", "4.300", "820 मीटर"}


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder(Settings(_env_file=None))


@pytest.fixture(scope="module")
def reader(embedder: Embedder) -> SpanReader:
    found = reader_for(embedder)
    assert found is not None
    return found


@pytest.mark.parametrize(("question", "says", "does_not"), PAIRS)
def test_a_passage_that_says_it_is_told_from_one_that_does_not(
    reader: SpanReader, question: str, says: str, does_not: str
) -> None:
    there, missing = reader.read(question, [says, does_not])
    assert there.margin > 0 > missing.margin
    assert says[slice(*there.span)] in ANSWERS


def test_what_is_read_does_not_depend_on_what_is_read_beside_it(reader: SpanReader) -> None:
    question, says, does_not = PAIRS[0]
    beside = reader.read(question, [does_not, says, says * 4])
    alone = [reader.read(question, [text])[0] for text in (does_not, says, says * 4)]
    for one, other in zip(beside, alone, strict=True):
        assert one.margin == pytest.approx(other.margin, abs=1)
    assert reader.read(question, []) == []


@pytest.mark.parametrize(
    ("question", "passage"),
    [("why " * 900, "because " * 900), ("", ""), ("?", "\n \u200b"), ("a", "\ud800"), ("\ufffd", "\0")],
)
def test_texts_of_any_length_are_read_within_a_bound(
    embedder: Any, reader: SpanReader, question: str, passage: str
) -> None:
    ids, first = pair(embedder.bundled[1], question, passage)
    assert first < len(ids) <= PAIR_TOKENS
    (read,) = reader.read(question, [passage])
    assert math.isfinite(read.margin)
    assert 0 <= read.span[0] <= read.span[1] <= len(passage)


def test_it_reads_what_the_one_in_training_reads() -> None:
    exact: Any = load_embedder(Settings(_env_file=None, dtype="float32"))
    encoder, tokenizer = exact.bundled
    reader = SpanReader.load(encoder, tokenizer)
    adapter = Adapter(encoder)
    adapter.load_state_dict({name: value.float() for name, value in load_file(WEIGHTS).items()})
    training = TrainedReader(encoder, adapter)
    for question, *passages in PAIRS:
        pairs = [pair(tokenizer, question, passage) for passage in passages]
        with torch.no_grad():
            scores = training.scores([ids for ids, _ in pairs])
        for each, (_, first), read in zip(scores, pairs, reader.read(question, passages), strict=True):
            assert read.margin == pytest.approx(likeliest(each, first).margin, abs=0.02)


def test_an_adapter_that_has_learned_nothing_leaves_the_encoder_as_it_is(embedder: Any) -> None:
    encoder, tokenizer = embedder.bundled
    untaught = Adapter(encoder)
    untaught.rows.data[:2, 5] = 1.0
    ids, first = pair(tokenizer, *PAIRS[0][:2])
    states = encoder.states([ids]).float()[:, 5].detach()
    (read,) = SpanReader(encoder, tokenizer, untaught.state_dict()).read(*PAIRS[0][:1], [PAIRS[0][1]])
    expected = likeliest(torch.stack([states, states], dim=1), first)
    assert read.margin == pytest.approx(expected.margin, abs=1e-3)


def test_beside_another_embedder_there_is_no_reader() -> None:
    assert reader_for(object()) is None
