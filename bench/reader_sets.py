"""The questions that the reader is trained on, each beside the paragraph that it was written for.

Read from the sets that are derived from Wikipedia (squad2, squad_pt, squad_it, xquad, piaf_fr), and from
files in the form of SQuAD 2.0.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.quotes import in_part
from rag.language import detect

ENGLISH = {
    "ABC_(Stati_Uniti_d'America).txt": "American_Broadcasting_Company.txt",
    "Amazzonia.txt": "Amazon_rainforest.txt",
    "Cloroplasto.txt": "Chloroplast.txt",
    "Commutazione_di_pacchetto.txt": "Packet_switching.txt",
    "Costruzione_edilizia.txt": "Construction.txt",
    "Crisi_energetica_(1973).txt": "1973_oil_crisis.txt",
    "Dinastia_Yuan.txt": "Yuan_dynasty.txt",
    "Docente.txt": "Teacher.txt",
    "Fresno_(California).txt": "Fresno,_California.txt",
    "Guerra_franco-indiana.txt": "French_and_Indian_War.txt",
    "Islamismo.txt": "Islamism.txt",
    "Martin_Lutero.txt": "Martin_Luther.txt",
    "Morte_Nera.txt": "Black_Death.txt",
    "Normanni.txt": "Normans.txt",
    "Parlamento_scozzese.txt": "Scottish_Parliament.txt",
    "Sistema_immunitario.txt": "Immune_system.txt",
    "Ugonotti.txt": "Huguenot.txt",
    "Università_di_Chicago.txt": "University_of_Chicago.txt",
    "Università_di_Harvard.txt": "Harvard_University.txt",
}
"""Articles whose translation has another name: they go with their source."""


@dataclass(frozen=True)
class Paragraph:
    """One paragraph of an article in one language."""

    article: str
    language: str
    text: str


@dataclass(frozen=True)
class Asked:
    """A question beside a paragraph; `spans` are the answers in it, none where it does not say."""

    kind: str
    question: str
    paragraph: Paragraph
    spans: tuple[tuple[int, int], ...] = ()
    key: str = ""


def load(data: Path) -> list[Asked]:
    """Every question of the sets that are there beside the paragraph that it was written for."""
    found = []
    for name in ("squad2", "squad_pt", "squad_it", "xquad", "piaf_fr"):
        if not (data / name).is_dir():
            continue
        texts: dict[str, str] = {}
        for record in _records(data / name):
            document = record["doc"]
            if document not in texts:
                texts[document] = (data / name / "docs" / document).read_bytes().decode("utf-8")
            start, end = record["context"]["start"], record["context"]["end"]
            spans = tuple(
                (each["start"] - start, each["end"] - start)
                for each in record["evidence"]
                if start <= each["start"] < each["end"] <= end
            )
            if record["answerable"] and not spans:
                continue
            base = document.rsplit("/", 1)[-1]
            article = ENGLISH.get(base, base)
            language = {"squad_pt": "pt", "squad_it": "it", "piaf_fr": "fr"}.get(
                name, record.get("language", "en")
            )
            paragraph = Paragraph(article, language, texts[document][start:end])
            key = record["id"][3:] if name == "xquad" else ""
            found.append(Asked(name, record["question"], paragraph, spans, key))
    return found


def more(path: Path, sets: Sequence[Asked]) -> list[Asked]:
    """Every question of a file in the form of SQuAD 2.0, whose paragraphs must not be of the sets: halves
    are told apart by names of articles, which a file can have spelled otherwise.

    Raises:
        ValueError: an answer is not where the file says, or a paragraph is of the sets.
    """
    known = {" ".join(each.paragraph.text.split()) for each in sets}
    found = []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for each in article["paragraphs"]:
            text = each["context"]
            if " ".join(text.split()) in known:
                raise ValueError(
                    f"{path}: a paragraph of {article['title']!r} is of the sets, too; leave it out"
                )
            paragraph = Paragraph(article["title"], detect(text) or "", text)
            for asked in each["qas"]:
                spans = []
                for answer in () if asked.get("is_impossible") else asked["answers"]:
                    start, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
                    if text[start:end] != answer["text"]:
                        raise ValueError(
                            f"{path}, question {asked['id']}: {answer['text']!r} is not at {start}"
                        )
                    spans.append((start, end))
                found.append(Asked("more", asked["question"], paragraph, tuple(dict.fromkeys(spans))))
    return found


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    packed = folder / "questions_all.jsonl.gz"
    with (
        gzip.open(packed, "rt", encoding="utf-8")
        if packed.exists()
        else (folder / "questions.jsonl").open(encoding="utf-8") as lines
    ):
        for line in lines:
            yield json.loads(line)


def of_part(asked: Sequence[Asked], part: str) -> list[Asked]:
    """The questions of one half of the articles, all of piaf_fr in either: no check asks it."""
    everywhere = ("piaf_fr", "more")
    return [each for each in asked if each.kind in everywhere or in_part(each.paragraph.article, part)]
