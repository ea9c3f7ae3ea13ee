"""`longleaf eval make`: questions proposed from the documents, for a person to accept, edit or reject."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from api.commands.eval_session import Session, session
from api.terminal import USAGE, fail, one_line, say, say_heading, warn
from rag.errors import InvalidRequest
from rag.evaluation.metrics import Place, touches
from rag.evaluation.proposals import Proposal, Proposer, by_model, by_rule, count_words, edited, excerpts
from rag.evaluation.questions import load_questions
from rag.retrieval import SearchScope
from rag.settings import Settings
from rag.writer import WRITES

ROUND_TRIP = 4
"""Among so many passages a question has to find its own, or it is not proposed."""

_IN_VAIN = 40
"""Passages in a row of which no question came, after which no further one is tried."""


def run(  # noqa: PLR0917 (called by one program alone)
    settings: Settings,
    out: Path,
    docs: Path | None,
    collection: str | None,
    count: int,
    by: str,
    seed: int,
    *,
    ask: bool,
) -> None:
    """Propose and write; exits with 2 for input that can't be taken."""
    if by not in ("auto", "model", "rule"):
        fail(f"--by {by}: take auto, model or rule", USAGE)
    if docs is not None and collection is not None:
        fail("--docs and --collection exclude each other: give the folder or the collection", USAGE)
    if docs is not None and not docs.exists():
        fail(f"--docs {docs}: there is no such folder", USAGE)
    if ask and not sys.stdin.isatty():
        fail("questions are accepted at a terminal; --yes N keeps N as not accepted", USAGE)
    known = known_ids(out)
    with session(settings, collection, () if docs is None else (docs,)) as made_of:
        proposer = proposer_for(made_of, by, seed)
        kept = 0
        with out.open("a", encoding="utf-8") as file:
            for proposal in proposals(made_of, proposer, seed, known):
                record = _asked(proposal) if ask else proposal.record(accepted=False)
                if record is None:
                    continue
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
                file.flush()
                kept += 1
                if kept == count:
                    break
    state = "accepted" if ask else "kept, marked as not accepted"
    say(f"{kept} questions {state} in {out}; longleaf eval run {out} asks them")
    if kept < count and not ask:
        warn(f"the documents gave {kept} of {count}: what a question could not find again was left out")


def known_ids(out: Path) -> set[str]:
    """Ids of the questions that a file holds already; exits with 2 for one that no line can be added to."""
    if not out.exists() or not out.stat().st_size:
        return set()
    if out.suffix.lower() in {".csv", ".tsv"}:
        fail(f"{out}: questions are added to JSON Lines, not to a table", USAGE)
    try:
        return {question.id for question in load_questions(out).questions}
    except InvalidRequest as error:
        fail(error.detail, USAGE)


def proposer_for(made_of: Session, by: str, seed: int) -> Proposer:
    """Who proposes questions: `model`, `rule`, or `auto` for what the model is able to."""
    engine = made_of.service.engine.wait()
    able = engine.parameter_count >= WRITES and engine.chat_format is not None
    if by == "model" and engine.chat_format is None:
        fail(f"--by model: {engine.name} has no chat format that is known", USAGE)
    if by == "model" or (by == "auto" and able):
        return by_model(engine)
    if by == "auto":
        warn(f"{engine.name} is too small to write questions: they are made of sentences, with a gap")
    texts = [made_of.library.text(document) for document in list(made_of.library.rows)[:500]]
    return by_rule(count_words(texts), random.Random(seed))


def proposals(made_of: Session, proposer: Proposer, seed: int, known: set[str]) -> Iterator[Proposal]:
    """Proposals that find their own passage again."""
    service = made_of.service
    retriever = service.retriever.wait()
    scope = SearchScope(service.scope.workspace_id, made_of.collection.id)
    in_vain = 0
    for tried, excerpt in enumerate(excerpts(made_of.library, seed), start=1):
        proposal = proposer(excerpt)
        if proposal is not None and proposal.id not in known:
            place = Place(proposal.document, proposal.start, proposal.end)
            found = retriever.look(proposal.question, scope, ROUND_TRIP).candidates
            if any(touches(place, Place(each.document_id, each.start, each.end)) for each in found):
                known.add(proposal.id)
                in_vain = 0
                yield proposal
                continue
        in_vain += 1
        if in_vain % 10 == 0:
            warn(f"{tried} passages tried, nothing of the last {in_vain}")
        if in_vain == _IN_VAIN:
            return


def _asked(proposal: Proposal) -> dict[str, object] | None:
    """What a person says of a proposal: its line, or None. Ctrl-C or `q` ends the command."""
    while True:
        say()
        say_heading(one_line(proposal.filename, 100))
        say(f"  {one_line(proposal.passage, 1500)}")
        say_heading("Question: ", one_line(proposal.question, 400))
        say_heading("Answer:   ", one_line(proposal.answer, 400))
        choice = typer.prompt("[a]ccept, [e]dit, [r]eject, [q]uit", default="a", err=True).strip().lower()
        if choice in ("a", "accept"):
            return proposal.record(accepted=True)
        if choice in ("r", "reject"):
            return None
        if choice in ("q", "quit"):
            raise typer.Exit
        if choice in ("e", "edit"):
            question = typer.prompt("Question", default=proposal.question, err=True)
            answer = typer.prompt("Answer, as it stands in the passage", default=proposal.answer, err=True)
            changed = edited(proposal, question, answer)
            if changed is None:
                warn(f"{answer!r} does not stand in the passage")
            else:
                proposal = changed
