"""What speaks to a machine, and what only speaks of one."""

from __future__ import annotations

import pytest

from rag.orders import holds_markup, speaks_to_machine
from tests.injection.attacks import ATTACKS

READERS = [
    "The assistant of the keeper is paid 640 crowns a year.",
    "System: the parts of the engine and how they are joined.\n".replace("System:", "The system has:"),
    "Ignoring the noise of the street, she answered every letter only on Sundays.",
    "The rules of the house are to be read before the first dive.",
    "Der Assistent ignorierte den Einwand und las weiter.",
    "Human T cells (Vγ9/Vδ2) respond within hours to molecules of microbes.",
    "นักวิจัยอ้างอิงเอกสารสามฉบับในบทความนี้",
    "उत्तर भारत में वर्षा जुलाई में होती है।",
    "يحتوي الكتاب على تعليمات لصيانة المحرك.",
    "The file config.json holds the key data and its value.",
]


@pytest.mark.parametrize("sentence", READERS)
def test_a_sentence_for_readers_is_none(sentence: str) -> None:
    assert not speaks_to_machine(sentence)
    assert not holds_markup(sentence)


def test_nearly_every_attack_is_known() -> None:
    spoken = [a for a in ATTACKS if a.carrier == "body"]
    unknown = [a.name for a in spoken if not speaks_to_machine(a.text) and not holds_markup(a.text)]
    assert len(unknown) <= 0.05 * len(spoken), unknown


def test_links_and_elements_are_markup() -> None:
    for text in (
        "![x](y)",
        "see [here](https://e.org)",
        "<img src=x>",
        "<A HREF='x'>",
        "www.example.org",
        "{{7*7}}",
        "&lt;b&gt;",
    ):
        assert holds_markup(text), text
    for text in ("a < b and b > c", "an array a[3](x)", "note [1] and [2]", "5 <6"):
        assert not holds_markup(text), text
