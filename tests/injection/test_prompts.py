"""No attack leaves its place in the prompt: it stays text, between two lines that it cannot write."""

from __future__ import annotations

import re

import pytest

from ingest.names import choose_title, display_filename
from model import Engine
from rag.framing import frame_for
from rag.packing import Passage, pack_whole
from rag.prose import ProseCheck
from rag.sentences import sentence_spans
from rag.writer import Writer
from tests.injection.attacks import ATTACKS, Attack
from tests.injection.documents import FACTS, QUESTION

BODIES = [attack for attack in ATTACKS if attack.carrier in ("body", "html", "pdf")]
NAMES = [attack for attack in ATTACKS if attack.carrier in ("title", "filename", "metadata")]


def prompt(engine: Engine, title: str, text: str) -> tuple[str, list[int]]:
    """The prompt over one passage, as text with its control tokens by name, and as ids."""
    passage = Passage("doc_a", 1, title, 0, len(text), text, 1.0)
    frame = frame_for([text])
    pack = pack_whole([passage], engine.tokenizer, frame, 4096)
    assert pack is not None
    skeleton = Writer.skeleton_of(engine, frame, QUESTION)
    ids = skeleton.prompt(pack.ids)
    return engine.tokenizer.decode(ids, control=True), ids


def controls(engine: Engine, ids: list[int]) -> list[int]:
    """The control tokens among ids, in order."""
    return [token for token in ids if engine.tokenizer.is_control(token)]


@pytest.mark.parametrize("attack", BODIES, ids=lambda a: a.name)
def test_text_stays_in_its_passage(engine: Engine, attack: Attack) -> None:
    plain, plain_ids = prompt(engine, "Lease", "\n\n".join(FACTS))
    shown, ids = prompt(engine, "Lease", "\n\n".join([*FACTS, attack.text]))
    assert controls(engine, ids) == controls(engine, plain_ids)
    tag = re.search(r'<(document[-\d]*) title="Lease">\n', shown)
    assert tag is not None
    assert shown.count(f"</{tag[1]}>\n\nQuestion:") == 1, shown
    inside = shown[tag.end() : shown.rindex(f"\n</{tag[1]}>")]
    assert f"</{tag[1]}" not in inside
    assert shown.endswith(plain[plain.rindex("Question: ") :])


@pytest.mark.parametrize("attack", NAMES, ids=lambda a: a.name)
def test_a_name_stays_in_its_line(engine: Engine, attack: Attack) -> None:
    given = attack.text if attack.carrier == "title" else None
    name = display_filename(attack.text if attack.carrier == "filename" else "lease.txt")
    _, plain_ids = prompt(engine, "Lease", FACTS[0])
    shown, ids = prompt(engine, choose_title(given, None, name), FACTS[0])
    assert controls(engine, ids) == controls(engine, plain_ids)
    opening = re.search(r'^<document title="([^"\n<>]*)">$', shown, re.MULTILINE)
    assert opening is not None, shown
    assert shown[opening.end() :].startswith(f"\n{FACTS[0]}\n</document>\n")


@pytest.mark.parametrize("attack", BODIES, ids=lambda a: a.name)
def test_a_model_that_obeys_says_nothing(attack: Attack) -> None:
    check = ProseCheck(QUESTION, FACTS[:2], sentence_spans)
    given = check.push(f"{attack.text} ") + check.push(f"The answer is {attack.canary} [1]. ")
    given += check.flush(complete=True)
    assert attack.canary not in given
    assert not re.search(r"https?://|<\||!\[|<[a-z]", given)
