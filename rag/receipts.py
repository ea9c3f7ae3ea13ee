"""Receipts: what each citation is worth to an answer, as the likelihood that is lost without it.

The model reads the cited quotes, each as a passage of its own, and scores words that it did not choose: those
of the answer or, where the answer is nothing but quotes, those of the question. Then it does so again without
one quote, for each of them (the leave-one-out form of Cohen-Wang et al. 2024, "ContextCite"). What stands
before the quote that is left out need not be read again. See docs/decisions/0306-receipts.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from model import Engine
from rag.citations import Citation
from rag.framing import Frame
from rag.inert import JOINER
from rag.packing import Passage, encode_passage
from rag.writer import Writer

Scored = Literal["answer", "question"]

_MARKS = re.compile(r"\s*\[(?:\d{1,3}|\?)\]")


@dataclass(frozen=True)
class Receipt:
    """How many nats the log-probability of the `of` falls without a citation; negative where it rises."""

    citation_id: int
    drop: float
    of: Scored

    def as_dict(self) -> dict[str, Any]:
        """As the API shows it."""
        return asdict(self)


@dataclass
class Receipts:
    """The receipts of one answer. `salt` keeps what is read apart from other workspaces; `computed` counts
    the tokens that the model had to read."""

    engine: Engine
    frame: Frame
    question: str
    citations: Sequence[Citation]
    salt: str = ""
    computed: int = 0

    def of_answer(self, text: str, unsupported: Collection[str] = ()) -> Iterator[Receipt]:
        """One receipt for each citation, of an answer's words: without marks, and without the sentences that
        are marked as unsupported."""
        for each in unsupported:
            text = text.replace(each, "", 1)
        words = self.engine.tokenizer.encode(_MARKS.sub("", text).replace(JOINER, "").strip())
        around = Writer.skeleton_of(self.engine, self.frame, self.question)
        return self._receipts(around.opening, around.closing, words, "answer")

    def of_question(self) -> Iterator[Receipt]:
        """One receipt for each citation, of the question's words: where the quotes are all of the answer."""
        opening = Writer.skeleton_of(self.engine, self.frame, "").opening
        encode = self.engine.tokenizer.encode
        return self._receipts(opening, tuple(encode("\nQuestion: ")), encode(self.question), "question")

    def _receipts(
        self, opening: Sequence[int], closing: Sequence[int], words: Sequence[int], of: Scored
    ) -> Iterator[Receipt]:
        if not words:
            return
        passages = [self._ids(citation) for citation in self.citations]
        whole = self._likelihood([*opening, *_joined(passages), *closing], words)
        for number, citation in enumerate(self.citations):
            rest = [*passages[:number], *passages[number + 1 :]]
            without = self._likelihood([*opening, *_joined(rest), *closing], words)
            # 0 is added because JSON in a database keeps no negative zero.
            yield Receipt(citation.id, round(whole - without, 4) + 0.0, of)

    def _ids(self, citation: Citation) -> tuple[int, ...]:
        start, end = citation.start_char_index, citation.end_char_index
        passage = Passage(
            citation.document_id, 0, citation.document_title, start, end, citation.cited_text, citation.score
        )
        return encode_passage(passage, self.engine.tokenizer, self.frame)

    def _likelihood(self, prompt: Sequence[int], words: Sequence[int]) -> float:
        """The log-probability of `words` after `prompt`, in nats; the oldest of the prompt is left out where
        it does not fit the model's window."""
        words = words[: self.engine.context_length // 2]
        ids = [*prompt[-(self.engine.context_length - len(words) - 1) :], *words]
        start = len(ids) - len(words)
        chunk = self._chunk
        self.computed += len(ids) - 1 - (start - 1) // chunk * chunk
        # What was read stays in the workspace, and goes when one of the documents goes.
        tags = {citation.document_id for citation in self.citations}
        return float(self.engine.score(ids, start, salt=self.salt, tags=tags).sum())

    @property
    def _chunk(self) -> int:
        return self.engine.options.chunk_on(self.engine.device.partition(":")[0])


def _joined(passages: Sequence[Sequence[int]]) -> list[int]:
    return [token for passage in passages for token in passage]
