"""The reader in training: its examples keep the halves apart, its forward pass is the encoder's."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from bench.reader import loss_of, row_of, train
from bench.reader_data import Epochs, Example
from bench.reader_model import Adapter, TrainedReader, _Gelu
from bench.reader_sets import load, more, of_part
from rag.embedders import load_embedder
from rag.settings import Settings
from rag.span_reader import MOST, Pointed, SpanReader, likeliest, pair

TEXTS = {
    "Normans.txt": "The Normans came to France in 911. Rollo led them from Denmark in ships.",
    "1973_oil_crisis.txt": "The oil crisis began in October 1973. Prices rose to 12 dollars in March 1974.",
}
ASKED = [
    ("Normans.txt", "Who led the Normans in 911?", "Rollo"),
    ("Normans.txt", "Who led the Normans in 1066?", None),
    ("1973_oil_crisis.txt", "When did the oil crisis begin?", "October 1973"),
    ("1973_oil_crisis.txt", "Where did the oil crisis peak?", None),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lines: dict[str, list[dict[str, Any]]] = {"squad2": [], "xquad": [], "squad_it": []}
    for number, (document, question, answer) in enumerate(ASKED):
        text = TEXTS[document]
        for name, doc in (("squad2", document), ("xquad", f"en/{document}"), ("xquad", f"de/{document}")):
            if answer is None and name == "xquad":
                continue
            at = text.index(answer) if answer else 0
            evidence = [{"doc": doc, "start": at, "end": at + len(answer)}] if answer else []
            lines[name].append(
                {
                    "id": f"{doc[:2]}-{number}",
                    "question": question,
                    "answerable": bool(answer),
                    "doc": doc,
                    "evidence": evidence,
                    "context": {"start": 0, "end": len(text)},
                    "language": doc.split("/")[0] if "/" in doc else "en",
                }
            )
            (tmp_path / name / "docs" / doc).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / "docs" / doc).write_text(text, "utf-8")
    name = "Crisi_energetica_(1973).txt"
    lines["squad_it"].append({**lines["squad2"][2], "doc": name})
    (tmp_path / "squad_it" / "docs").mkdir(parents=True)
    (tmp_path / "squad_it" / "docs" / name).write_text(TEXTS["1973_oil_crisis.txt"], "utf-8")
    for each, rows in lines.items():
        (tmp_path / each / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_no_half_sees_an_article_of_the_other_in_any_language(data: Path) -> None:
    asked = load(data)
    halves = {part: of_part(asked, part) for part in ("fit", "check")}
    articles = {part: {each.paragraph.article for each in half} for part, half in halves.items()}
    assert articles == {"fit": {"Normans.txt"}, "check": {"1973_oil_crisis.txt"}}
    assert len(halves["fit"]) + len(halves["check"]) == len(asked) == 9
    for part, half in halves.items():
        passages = {example.passage for seed in range(5) for example in Epochs(half, seed).draw(1.0)}
        own = {name: text for name, text in TEXTS.items() if name in articles[part]}
        assert passages
        assert all(any(passage in text for text in own.values()) for passage in passages)


def test_answers_stand_where_they_are_said_to_and_changed_questions_have_none(data: Path) -> None:
    golds = {answer for _, _, answer in ASKED if answer}
    originals = {question for _, question, _ in ASKED}
    seen = set()
    for seed in range(20):
        for example in Epochs(load(data), seed).draw(1.0):
            seen.add(example.kind)
            assert {example.passage[a:b] for a, b in example.spans} <= golds
            if example.kind == "changed":
                assert not example.spans
                assert example.question not in originals
    assert {"squad2", "xquad", "squad_it", "changed", "across"} <= seen


def squad(folder: Path, context: str, start: int) -> Path:
    """A file in the form of SQuAD 2.0: one question with an answer, one without."""
    asked = [
        {"id": "1", "question": "Who led them?", "answers": [{"text": "Rollo", "answer_start": start}]},
        {"id": "2", "question": "Who left them?", "answers": [], "is_impossible": True},
    ]
    article = {"title": "Vikings", "paragraphs": [{"context": context, "qas": asked}]}
    path = folder / "more.json"
    path.write_text(json.dumps({"version": "v2.0", "data": [article]}), "utf-8")
    return path


def test_questions_of_a_file_go_with_either_half(data: Path) -> None:
    asked = load(data)
    found = more(squad(data, "Rollo led the Vikings to Normandy.", 0), asked)
    assert [(each.question, each.spans) for each in found] == [
        ("Who led them?", ((0, 5),)),
        ("Who left them?", ()),
    ]
    for part in ("fit", "check"):
        assert of_part([*asked, *found], part)[-2:] == found
        assert {"Who led them?", "Who left them?"} <= {
            each.question for each in Epochs(of_part([*asked, *found], part), 1).draw(1.0)
        }


@pytest.mark.parametrize(
    ("context", "start", "says"),
    [
        ("Rollo led the Vikings.", 2, "question 1: 'Rollo' is not at 2"),
        (TEXTS["Normans.txt"], 43, "of the sets"),
    ],
)
def test_a_file_that_is_wrong_or_of_the_sets_is_refused(
    data: Path, context: str, start: int, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        more(squad(data, context, start), load(data))


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Any]:
    embedder: Any = load_embedder(Settings(_env_file=None, dtype="float32"))
    bundled: tuple[Any, Any] = embedder.bundled
    return bundled


def test_an_untrained_reader_is_the_encoder_and_padding_changes_nothing(parts: tuple[Any, Any]) -> None:
    encoder, tokenizer = parts
    torch.manual_seed(0)
    reader = TrainedReader(encoder, Adapter(encoder))
    torch.nn.init.normal_(reader.adapter.rows)
    rows = [pair(tokenizer, "Who led the Normans?", text)[0] for text in ("Rollo led them.", *TEXTS.values())]
    with torch.no_grad():
        scores = reader.scores(rows)
        for row, found in zip(rows, scores, strict=True):
            expected = encoder.states([row]) @ reader.adapter.rows.T
            assert torch.allclose(found, expected, atol=2e-3, rtol=1e-3)


def test_the_own_gradient_is_that_of_torch() -> None:
    one = torch.linspace(-4, 4, 50, requires_grad=True)
    other = one.detach().clone().requires_grad_()
    weights = torch.linspace(1, 2, 50)
    (_Gelu.apply(one) * weights).sum().backward()
    (functional.gelu(other) * weights).sum().backward()
    assert one.grad is not None
    assert other.grad is not None
    assert torch.allclose(one.grad, other.grad, atol=1e-6)


def test_training_lowers_the_loss_and_what_was_learned_is_kept(
    parts: tuple[Any, Any], tmp_path: Path
) -> None:
    encoder, tokenizer = parts
    torch.manual_seed(0)
    reader = TrainedReader(encoder, Adapter(encoder))
    examples = [
        Example("made", question, TEXTS[doc], _span(TEXTS[doc], answer)) for doc, question, answer in ASKED
    ]
    rows = [row_of(each, tokenizer) for each in examples]
    assert [row.stated for row in rows] == [True, False, True, False]
    ids = [row.ids for row in rows]
    with torch.no_grad():
        before = float(loss_of(reader.scores(ids), rows))
    out = tmp_path / "adapter.safetensors"
    train(reader, [rows] * 8, argparse.Namespace(seed=1, seconds=3600, rate=3e-3, out=out))
    with torch.no_grad():
        scores = reader.scores(ids)
    assert float(loss_of(scores, rows)) < 0.9 * before
    assert out.stat().st_size < 3_000_000
    again = SpanReader.load(encoder, tokenizer, out)
    for example, row, each in zip(examples, rows, scores, strict=True):
        (read,) = again.read(example.question, [example.passage])
        assert read.margin == pytest.approx(likeliest(each, row.first).margin, abs=0.02)


def test_the_likeliest_answer_is_a_range_of_the_passage_beside_no_answer() -> None:
    scores = torch.zeros(8, 3)  # a row of eight: three tokens of a question, four of a passage, the end
    scores[0, 0] = scores[0, 1] = 1.0
    scores[4, 0], scores[5, 1], scores[2, 1], scores[7, 1] = 3.0, 2.0, 9.0, 9.0
    read = likeliest(scores, 3)
    assert read.place == (4, 5)
    none = math.exp(1) / (math.exp(1) + math.exp(3) + 3) * math.exp(1) / (math.exp(1) + math.exp(2) + 3)
    assert read.margin == pytest.approx(math.log((1 - none) / none), abs=1e-5)


@pytest.mark.parametrize("sure", [1e4, -1e4])
def test_a_margin_is_bounded(sure: float) -> None:
    scores = torch.zeros(6, 3)
    scores[3, 0] = scores[3, 1] = sure
    scores[0, 0] = scores[0, 1] = -sure
    assert likeliest(scores, 2).margin == math.copysign(MOST, sure)
    assert likeliest(scores[:3], 2) == Pointed((0, 0), -MOST), "a passage without a token"


def _span(text: str, answer: str | None) -> tuple[tuple[int, int], ...]:
    return ((text.index(answer), text.index(answer) + len(answer)),) if answer else ()
