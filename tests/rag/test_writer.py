"""Who writes, and the prompt that it gets."""

from __future__ import annotations

from typing import Any

import pytest

from model import Engine
from rag.citations import Citation
from rag.framing import Frame
from rag.packing import Pack, Passage, Segment, encode_passage
from rag.writer import READS_ALL, UNTRIED, WRITES, Standing, Writer
from tests.rag.conftest import WatchedEngine

FRAME = Frame("document")
BETTER = Standing(better=True)
WRITING = Standing(better=True, writes=True)
TEXT = "The rent is 41,300 guilders. It is due in four parts."


def cited(number: int, text: str) -> Citation:
    return Citation(number, "doc_1", "T", "t.txt", None, 0, len(text), text, 1, 0.9)


def pack_of(engine: Engine) -> Pack:
    passage = Passage("doc_1", 1, "Lease", 0, len(TEXT), TEXT, 1.0)
    ids = encode_passage(passage, engine.tokenizer, FRAME)
    return Pack("retrieved", 500, (Segment(passage, ids, 1),))


@pytest.mark.parametrize(
    ("parameters", "mode", "writes", "reads_all"),
    [
        (WRITES - 1, "auto", False, False),
        (WRITES - 1, "answer", True, False),
        (WRITES, "auto", True, False),
        (READS_ALL, "auto", True, True),
        (READS_ALL, "quotes", False, False),
    ],
)
def test_the_size_of_the_model_and_the_mode_decide(
    engine: Engine, parameters: int, mode: Any, writes: bool, reads_all: bool
) -> None:
    sized: Any = WatchedEngine(engine, parameter_count=parameters)
    writer = Writer.of(sized, mode)
    assert (writer is not None) == writes
    assert writer is None or writer.reads_all == reads_all
    mute: Any = WatchedEngine(engine, parameter_count=parameters, chat_format=None)
    assert Writer.of(mute, mode) is None


@pytest.mark.parametrize(
    ("standing", "mode", "leads"),
    [
        (UNTRIED, "auto", None),
        (UNTRIED, "answer", True),
        (BETTER, "auto", None),
        (BETTER, "answer", False),
        (WRITING, "auto", False),
        (WRITING, "quotes", None),
        (Standing(writes=True), "auto", None),
        (Standing(writes=True), "answer", True),
    ],
)
def test_a_small_model_writes_as_its_trial_found(
    engine: Engine, standing: Standing, mode: Any, leads: bool | None
) -> None:
    writer = Writer.of(engine, mode, standing)
    assert (None if writer is None else writer.leads) == leads
    assert writer is None or writer.pointed == standing.better


def test_the_bundled_model_does_not_write_by_itself(engine: Engine) -> None:
    assert Writer.of(engine, "auto") is None


def test_quotes_are_listed_while_there_is_room_and_each_on_one_line(engine: Engine) -> None:
    pack = pack_of(engine)
    quotes = [cited(1, "The rent is\n[2] 41,300 guilders."), cited(2, "It is due in four parts.")]
    writer = Writer(engine, reads_all=True, leads=False)
    prompt = writer.prompt(FRAME, "How high is the rent?", pack, quotes, quotes[0].cited_text, 64)
    shown = engine.tokenizer.decode(prompt)
    assert "\n[1] The rent is [2] 41,300 guilders.\n[2] It is due in four parts.\n" in shown
    assert shown.index(TEXT) < shown.index("Quotes from the passages:") < shown.index("How high is the rent?")

    tight: Any = WatchedEngine(engine, context_length=len(prompt) + 63)
    short = Writer(tight, reads_all=True, leads=False).prompt(
        FRAME, "How high is the rent?", pack, quotes, quotes[0].cited_text, 64
    )
    assert len(short) + 64 <= tight.context_length
    assert "[1] The rent is" in engine.tokenizer.decode(short)
    assert "[2] It is due" not in engine.tokenizer.decode(short)

    windows = Writer(engine, reads_all=False, leads=False).prompt(
        FRAME, "How high is the rent?", pack, quotes, quotes[0].cited_text, 64
    )
    assert "Quotes from the passages:" not in engine.tokenizer.decode(windows)
    assert "The likeliest sentence:" not in engine.tokenizer.decode(windows)


def test_a_taught_small_model_is_pointed_at_the_likeliest_sentence_where_it_fits(engine: Engine) -> None:
    assert not writer_of(engine, UNTRIED).pointed
    writer = writer_of(engine, BETTER)
    assert writer.pointed
    large: Any = WatchedEngine(engine, parameter_count=READS_ALL)
    assert not writer_of(large, BETTER).pointed

    pack, quotes = pack_of(engine), [cited(1, "The rent is 41,300 guilders. It is due in four parts.")]
    question, likeliest = "How high is the rent?", "The rent is\n41,300 guilders."
    prompt = writer.prompt(FRAME, question, pack, quotes, likeliest, 64)
    shown = engine.tokenizer.decode(prompt)
    assert "\nThe likeliest sentence:\nThe rent is 41,300 guilders. [1]\n" in shown
    assert shown.index(TEXT) < shown.index("The likeliest sentence:") < shown.index(question)
    assert "Quotes from the passages:" not in shown

    tight: Any = WatchedEngine(engine, context_length=len(prompt) + 63)
    short = writer_of(tight, BETTER).prompt(FRAME, question, pack, quotes, likeliest, 64)
    assert "The likeliest sentence:" not in engine.tokenizer.decode(short)


def writer_of(engine: Any, standing: Standing) -> Writer:
    writer = Writer.of(engine, "answer", standing)
    assert writer is not None
    return writer
