"""What the reader is trained on: questions beside passages that say the answer, or do not.

Passages without the answer come from annotators' traps, from the same questions with a name, number or word
changed, from other paragraphs of the article, and from traps beside the translated paragraph.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.reader_sets import Asked, Paragraph
from rag.asked import same, values
from rag.sentences import sentence_spans
from rag.terms import terms

WINDOW = 400
"""Characters of a passage, as many as a quote has."""
_OPPOSITES = [
    tuple(line.split())
    for line in """most least|first last|largest smallest|before after|north south|east west|more less
    highest lowest|oldest youngest|always never|start end|begin end|began ended|increase decrease
    increased decreased|northern southern|eastern western|upper lower|early late|best worst|win lose|won lost
    above below|high low|large small|major minor|public private|old new|longest shortest|maximum minimum
    older younger|higher lower|greater smaller|biggest smallest|inside outside|enter leave|accept reject
    accepted rejected|support oppose|supported opposed|allow forbid|allowed banned|built destroyed
    founded abolished|rise fall|rose fell|gained lost|men women|male female|rural urban|rich poor
    positive negative|internal external|during after|import export|buy sell|good bad|strong weak""".replace(
        "\n", "|"
    ).split("|")
]
_SWAPS = {word: other for a, b in _OPPOSITES for word, other in ((a, b), (b, a))}
_VERBS = re.compile(r"\b(did|does|do|was|were|is|are|can|could|has|have|had|would|will)\b")


@dataclass(frozen=True)
class Example:
    """A question beside a window of a paragraph."""

    kind: str
    question: str
    passage: str
    spans: tuple[tuple[int, int], ...]


class Epochs:
    """The examples of each epoch, drawn afresh."""

    def __init__(self, asked: Sequence[Asked], seed: int) -> None:
        self._asked = list(asked)
        self._random = random.Random(seed)
        self._paragraphs: dict[tuple[str, str], list[Paragraph]] = defaultdict(list)
        for each in dict.fromkeys(one.paragraph for one in asked):
            self._paragraphs[each.article, each.language].append(each)
        self._values = {
            place: [value for each in texts for value in values(each.text)]
            for place, texts in self._paragraphs.items()
        }
        self._translations = self._aligned()

    def draw(self, size: float = 1.0) -> list[Example]:
        """One epoch in random order; `size` scales what is made up and translated."""
        chance = self._random
        english = [each for each in self._asked if each.kind == "squad2"]
        translated = [each for each in self._asked if each.kind == "xquad"]
        others = [each for each in self._asked if each.kind in ("squad_pt", "squad_it", "piaf_fr", "more")]
        some = chance.sample(translated, min(len(translated), int(len(english) * 0.4 * size)))
        base = [*english, *some, *others]
        made: list[Asked] = []
        for each in base:
            if each.spans and chance.random() < 0.4 * size:
                changed = self.changed(each)
                if changed:
                    made.append(changed)
            if chance.random() < 0.15 * size:
                elsewhere = self.elsewhere(each)
                if elsewhere:
                    made.append(elsewhere)
            if chance.random() < 0.5 * size:
                across = self.across(each)
                if across:
                    made.append(across)
        examples = [window(each, chance) for each in (*base, *made)]
        chance.shuffle(examples)
        return examples

    def changed(self, asked: Asked) -> Asked | None:
        """The question with a name or number, or a word, changed into another: the paragraph does not say."""
        question, chance = asked.question, self._random
        mine = [v for v in values(question) if v.start > 0]
        pool = self._values[asked.paragraph.article, asked.paragraph.language]
        answers = [asked.paragraph.text[a:b].casefold() for a, b in asked.spans]
        options = []
        for value in mine:
            others = [
                other.text
                for other in pool
                if other.kind == value.kind
                and not same(other, value)
                and other.text.casefold() not in question.casefold()
                and not any(other.text.casefold() in a or a in other.text.casefold() for a in answers)
            ]
            if others:
                options.append(
                    question[: value.start]
                    + chance.choice(others)
                    + question[value.start + len(value.text) :]
                )
        if asked.paragraph.language == "en":
            words = [(m.start(), m.group()) for m in re.finditer(r"\w+", question) if m.group() in _SWAPS]
            options += [question[:at] + _SWAPS[word] + question[at + len(word) :] for at, word in words]
            verb = _VERBS.search(question)
            if verb and chance.random() < 0.3:
                negated = {"can": "cannot", "will": "won't"}.get(verb.group(), verb.group() + "n't")
                options.append(question[: verb.start()] + negated + question[verb.end() :])
        if not options:
            return None
        return replace(asked, kind="changed", question=chance.choice(options), spans=())

    def elsewhere(self, asked: Asked) -> Asked | None:
        """The question beside the paragraph of the article, without the answer, that is most like it."""
        answers = [asked.paragraph.text[a:b].casefold() for a, b in asked.spans]
        wanted = terms(asked.question)
        others = [
            each
            for each in self._paragraphs[asked.paragraph.article, asked.paragraph.language]
            if each.text != asked.paragraph.text and not any(a in each.text.casefold() for a in answers)
        ]
        if not others:
            return None
        few = self._random.sample(others, min(8, len(others)))
        nearest = max(few, key=lambda each: len(wanted & terms(each.text)))
        return replace(asked, kind="elsewhere", paragraph=nearest, spans=())

    def across(self, asked: Asked) -> Asked | None:
        """A translated paragraph beside the question: with its answers where they are known, or a trap."""
        chance = self._random
        if asked.kind == "xquad":
            versions = [
                v for v in self._by_key[asked.key] if v.paragraph.language != asked.paragraph.language
            ]
            if versions:
                other = chance.choice(versions)
                return replace(other, kind="across", question=asked.question)
        if asked.kind == "squad2" and not asked.spans:
            others = self._translations.get(" ".join(asked.paragraph.text.split()))
            if others:
                return replace(asked, kind="across", paragraph=chance.choice(others))
        return None

    def _aligned(self) -> dict[str, list[Paragraph]]:
        self._by_key: dict[str, list[Asked]] = defaultdict(list)
        for each in self._asked:
            if each.kind == "xquad":
                self._by_key[each.key].append(each)
        found: dict[str, list[Paragraph]] = {}
        for versions in self._by_key.values():
            source = next((v for v in versions if v.paragraph.language == "en"), None)
            if source:
                text = " ".join(source.paragraph.text.split())
                found[text] = [v.paragraph for v in versions if v is not source]
        return found


def window(asked: Asked, chance: random.Random) -> Example:
    """The sentences of a paragraph around the one most like the question, at most `WINDOW` characters."""
    text = asked.paragraph.text
    spans = [span for span in sentence_spans(text) if span[0] < span[1]] or [(0, len(text))]
    wanted = terms(asked.question)
    scores = [len(wanted & terms(text[a:b])) + chance.random() for a, b in spans]
    first = last = max(range(len(spans)), key=lambda at: scores[at])
    while True:
        grown = [
            (low, high)
            for low, high in ((first - 1, last), (first, last + 1))
            if low >= 0 and high < len(spans) and spans[high][1] - spans[low][0] <= WINDOW
        ]
        if not grown:
            break
        first, last = chance.choice(grown)
    start, end = spans[first][0], min(spans[last][1], spans[first][0] + 2 * WINDOW)
    kept = tuple((a - start, b - start) for a, b in asked.spans if start <= a < b <= end)
    return Example(asked.kind, asked.question, text[start:end], kept)
