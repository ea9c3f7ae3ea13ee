"""Run files: everything about a run that a comparison needs, and the journal that an interrupted one leaves.

While a run goes on, `RUN.json.part` takes a line for every question answered; the run file itself appears
at the end, whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.errors import InvalidRequest
from rag.evaluation.figures import Figure, figures
from rag.evaluation.outcome import Outcome
from rag.evaluation.questions import GoldQuestion

FORMAT = "longleaf-run-1"


class RunFileError(InvalidRequest):
    """A file that is no run, or of another one; the message names it."""

    default_code = "invalid_run"


@dataclass(frozen=True)
class Run:
    """`about`: set, version, models, settings, documents, machine; as the program that asked filled it in."""

    about: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    figures: tuple[Figure, ...]

    @classmethod
    def of(cls, about: Mapping[str, Any], outcomes: Sequence[Outcome]) -> Run:
        """A run with its figures worked out."""
        return cls(about, tuple(outcomes), tuple(figures(outcomes)))

    def as_dict(self) -> dict[str, Any]:
        """The run as its file has it."""
        return {
            "format": FORMAT,
            **self.about,
            "figures": [figure.as_dict() for figure in self.figures],
            "questions": [outcome.as_dict() for outcome in self.outcomes],
        }


def digest(questions: Sequence[GoldQuestion]) -> str:
    """A fingerprint of questions and what is known of their answers."""
    return hashlib.sha256(repr(questions).encode()).hexdigest()[:16]


def write(path: Path, run: Run) -> None:
    """Write a run file, whole or not at all. Raises OSError."""
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(json.dumps(run.as_dict(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    os.replace(draft, path)


def read(path: Path) -> Run:
    """Read a run file. Raises RunFileError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] != FORMAT:
            raise RunFileError(f"{path}: the format is {value['format']!r}, not {FORMAT!r}")
        outcomes = tuple(Outcome.from_dict(each) for each in value["questions"])
        found = tuple(Figure(**each) for each in value["figures"])
    except OSError as error:
        raise RunFileError(f"{path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFileError(f"{path}: no run file of `longleaf eval run`: {error!r}") from None
    about = {name: each for name, each in value.items() if name not in ("format", "questions", "figures")}
    return Run(about, outcomes, found)


class Journal:
    """The questions of a run that were answered, on disk as soon as they are."""

    def __init__(self, path: Path, key: str) -> None:
        """Open the journal of the run whose results will be in `path`; `key` tells apart what may not be
        mixed. Raises RunFileError for a journal of another run; OSError."""
        self.path = path.with_name(path.name + ".part")
        kept = self._kept(key)
        lines = [{"key": key}, *(outcome.as_dict() for outcome in kept)]
        draft = self.path.with_name(self.path.name + ".tmp")
        draft.write_text("".join(map(_line, lines)), encoding="utf-8")
        os.replace(draft, self.path)
        self.done = {outcome.id: outcome for outcome in kept}
        self._file = self.path.open("a", encoding="utf-8")

    def _kept(self, key: str) -> list[Outcome]:
        if not self.path.is_file():
            return []
        lines = self.path.read_text(encoding="utf-8").split("\n")
        try:
            found = json.loads(lines[0])["key"]
        except (ValueError, KeyError, TypeError):
            raise RunFileError(f"{self.path}: no journal of a run; remove it or name another --out") from None
        if found != key:
            raise RunFileError(
                f"{self.path}: it is left of a run over other questions, documents or settings; "
                "remove it, or name another --out"
            )
        kept = []
        for line in lines[1:]:
            try:
                kept.append(Outcome.from_dict(json.loads(line)))
            except (ValueError, KeyError, TypeError):
                break  # the line that was being written when the run ended
        return kept

    def add(self, outcome: Outcome) -> None:
        """Note an outcome."""
        self.done[outcome.id] = outcome
        self._file.write(_line(outcome.as_dict()))
        self._file.flush()

    def close(self, *, finished: bool) -> None:
        """Close the journal; a finished run needs it no more."""
        self._file.close()
        if finished:
            self.path.unlink(missing_ok=True)


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"
