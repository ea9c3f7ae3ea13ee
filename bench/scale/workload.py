"""Workload: who asks what, as prompts that share beginnings, for real engines and for simulated ones."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A stretch of a prompt: parts of one name hold the same tokens, of different names different ones."""

    name: str
    tokens: int


@dataclass(frozen=True)
class Question:
    """A prompt at a time.

    Attributes:
        at: seconds from the beginning.
        new: tokens that are written.
    """

    at: float
    workspace: str
    parts: tuple[Part, ...]
    new: int

    @property
    def prompt(self) -> int:
        """Tokens of the prompt."""
        return sum(part.tokens for part in self.parts)


@dataclass(frozen=True)
class Sessions:
    """People of several workspaces who ask several questions each about some of its documents.

    Attributes:
        rate: questions a second, of all.
        workspaces, documents: how many workspaces, and documents in each; some are asked about more often
            than others, by Zipf's law.
        about: documents in each prompt of a session.
        questions: of one session.
        think: seconds between two of them, on average.
        document, skeleton, question, new: tokens.
    """

    rate: float
    workspaces: int = 8
    documents: int = 20
    about: int = 2
    questions: int = 5
    think: float = 20.0
    document: int = 512
    skeleton: int = 60
    question: int = 24
    new: int = 16

    def draw(self, count: int, seed: int = 0) -> list[Question]:
        """So many questions, in the order of their times. Sessions begin as a Poisson process."""
        draw = random.Random(seed)
        found: list[Question] = []
        begin, number = 0.0, 0
        weights = [1 / (rank + 1) for rank in range(self.documents)]
        while len(found) < 2 * count:
            begin += draw.expovariate(self.rate / self.questions)
            workspace, at = f"w{draw.randrange(self.workspaces)}", begin
            chosen = self._documents(draw, weights)
            parts = [Part(f"{workspace} document {each}", self.document) for each in chosen]
            for _ in range(self.questions):
                number += 1
                asked = Part(f"question {number}", max(1, round(self.question * draw.uniform(0.5, 1.5))))
                prompt = (Part("skeleton", self.skeleton), *parts, asked)
                found.append(
                    Question(at, workspace, prompt, max(1, round(self.new * draw.uniform(0.5, 1.5))))
                )
                at += draw.expovariate(1 / self.think)
        return sorted(found, key=lambda question: question.at)[:count]

    def _documents(self, draw: random.Random, weights: Sequence[float]) -> list[int]:
        chosen: list[int] = []
        while len(chosen) < self.about:
            (each,) = draw.choices(range(self.documents), weights)
            if each not in chosen:
                chosen.append(each)
        return sorted(chosen)  # as packing does: the same documents make the same beginning


def tokens_of(question: Question, words: int) -> list[int]:
    """The prompt as token ids below `words`, the first 256 left out."""
    return [token for part in question.parts for token in _tokens(part, words)]


def _tokens(part: Part, words: int) -> Iterator[int]:
    draw = random.Random(part.name)
    return (draw.randrange(256, words) for _ in range(part.tokens))


def names_of(question: Question, block: int) -> tuple[bytes, ...]:
    """Names of the prompt's full blocks, equal where all tokens up to the block's end are, without the
    tokens."""
    names: list[bytes] = []
    chain, end = hashlib.blake2b(question.workspace.encode(), digest_size=12), 0
    for part in question.parts:
        chain.update(part.name.encode() + b"\0")
        end += part.tokens
        while (len(names) + 1) * block <= end:
            names.append(chain.digest() + len(names).to_bytes(4, "big"))
    return tuple(names)
