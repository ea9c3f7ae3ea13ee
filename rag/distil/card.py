"""The card of a distilled model: its name as its licence asks, what it was made of, what it is worth."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.distil.verdict import Verdict
from rag.prompts import one_line

_LLAMA = re.compile(r"llama[\s_-]*(3(?:\.\d)?)", re.IGNORECASE)
_NOTICE = (
    "Llama {version} is licensed under the Llama {version} Community License, "
    "Copyright © Meta Platforms, Inc. All Rights Reserved."
)


@dataclass(frozen=True)
class Origin:
    """A model that went into another one.

    Attributes:
        name: as it says of itself, or as the endpoint calls it.
        llama: the version of the Llama licence that it is under, "" for another licence.
    """

    name: str
    llama: str = ""


def origin(name: str, folder: Path | None = None) -> Origin:
    """What is known of a model's licence, by its name and by the licence beside its weights."""
    found = _LLAMA.search(name)
    texts = sorted(folder.glob("LICENSE*")) if folder is not None and folder.is_dir() else []
    for path in texts:
        head = path.read_text("utf-8", errors="replace")[:400]
        found = found or (_LLAMA.search(head) if "community license" in head.casefold() else None)
    return Origin(name, found.group(1) if found else "")


def name_of(wanted: str, origins: Sequence[Origin]) -> str:
    """The name of a model made with others: "Llama" at its beginning where the licence of one asks so."""
    name = re.sub(r"[^\w.-]+", "-", wanted).strip("-.") or "longleaf-reader"
    if any(each.llama for each in origins) and not name.startswith("Llama"):
        return f"Llama-{name}"
    return name


def licence_of(origins: Sequence[Origin]) -> tuple[str, str]:
    """The licence by the hub's name, and the notice that goes with the model; "" where none is known."""
    for each in origins:
        if each.llama:
            return f"llama{each.llama}", _NOTICE.format(version=each.llama)
    if all("smollm2" in each.name.casefold() for each in origins):
        return "apache-2.0", (
            "Made from SmolLM2-135M-Instruct, Copyright Hugging Face, under the Apache License, Version 2.0 "
            "(https://www.apache.org/licenses/LICENSE-2.0). It was changed: fine-tuned as described here."
        )
    return "other", f"The licences of {', '.join(each.name for each in origins)} hold for this model as well."


def card(
    name: str, student: Origin, teacher: Origin | None, facts: Sequence[tuple[str, str]], verdict: Verdict
) -> str:
    """The folder's README.md.

    Args:
        teacher: None where the answers came with the questions.
        facts: what else is to be known, by name.
    """
    origins = [each for each in (student, teacher) if each is not None]
    licence, notice = licence_of(origins)
    llama = any(each.llama for each in origins)
    head = [
        "---",
        f"license: {licence}",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "---",
    ]
    built = ["", "**Built with Llama**"] if llama else []
    taught = one_line(teacher.name) if teacher is not None else "answers with their places in the documents"
    rows = [("student", one_line(student.name)), ("teacher", taught), *facts]
    lines = [
        *head, "", f"# {name}", *built, "",
        "Reads the passages that Longleaf gives it and answers in one sentence of theirs, or says that "
        "they do not tell. Made by `longleaf distil`.", "",
        "| | |", "|---|---|", *(f"| {key} | {one_line(value)} |" for key, value in rows), "",
        "## On held-out documents", "",
        f"{verdict.questions} questions on {verdict.documents} documents, asked of {one_line(verdict.base)} "
        "and of this model in the same way.", "",
        "| metric | questions | before | after | difference | 95 % interval |", "|---|---|---|---|---|---|",
        *(
            f"| {each.metric} | {each.questions} | {each.first:.3f} | {each.second:.3f} | "
            f"{each.difference:+.3f} | {each.low:+.3f} to {each.high:+.3f} |"
            for each in verdict.changes
        ),
        "", f"{'Better' if verdict.better else 'Not better'}. {verdict.reason}", "",
        "## Licence", "", notice, "",
        "Weights can hold what they were taught: whoever may read this model may learn from it what stands "
        "in the documents, and the licence of documents and questions goes with it.", "",
    ]  # fmt: skip
    return "\n".join(lines)
