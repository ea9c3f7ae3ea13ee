"""`longleaf eval feedback`: questions made of what people said of answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api.commands.eval_make import known_ids
from api.commands.session import opened
from api.terminal import say
from api.wiring import DEFAULT_COLLECTION
from rag.kept import stored
from rag.settings import Settings
from rag.store.migrate import check
from rag.store.records import FeedbackRow
from rag.store.repositories import DEFAULT_SCOPE, Collections, Feedback
from rag.store.session import Database

_PAGE = 500
_LEFT = {
    "disputed": "somebody else called wrong",
    "withdrawn": "lost a document that was read",
    "follow_up": "leaned on a conversation",
    "unquoted": "had no quote that was right",
}


def run(settings: Settings, out: Path, collection: str | None) -> None:
    """Add the questions of a collection that were answered, or refused, rightly; those that are there stay.

    Raises NotFound, Unmigrated, Unavailable.
    """
    known = known_ids(out)
    left: Counter[str] = Counter()
    kept = 0
    with opened(settings) as db:
        check(db)
        with db.read() as session:
            chosen = Collections(session, DEFAULT_SCOPE).by_name(collection or DEFAULT_COLLECTION).id
        said = list(_said(db, chosen))
        disputed = {row.answer_id for row in said if not row.correct}
        with out.open("a", encoding="utf-8") as file:
            for row in said:
                if not row.correct or row.answer_id in known:
                    continue
                known.add(row.answer_id)
                record = _record(db, row) if row.answer_id not in disputed else "disputed"
                if isinstance(record, str):
                    left[record] += 1
                    continue
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
                kept += 1
    say(f"{kept} questions added to {out}; longleaf eval run {out} --collection … asks them")
    for why, count in left.items():
        say(f"{count} left out: {_LEFT[why]}")


def _said(db: Database, collection_id: str) -> Iterator[FeedbackRow]:
    before: str | None = None
    while True:
        with db.read() as session:
            rows = Feedback(session, DEFAULT_SCOPE, "").list(
                collection_id=collection_id, limit=_PAGE, before=before
            )
        yield from rows
        if len(rows) < _PAGE:
            return
        before = rows[-1].id


def _record(db: Database, row: FeedbackRow) -> dict[str, Any] | str:
    """The line of a questions file, or why there is none."""
    answer = stored(db, DEFAULT_SCOPE, row.answer_id)
    answered = answer["answer_status"] == "answered"
    if answer["withdrawn"]:
        return "withdrawn"
    if any(search["why"] == "follow_up" for search in answer["searches"]):
        return "follow_up"
    evidence = [
        {
            "doc": quote["document_id"],
            "start": quote["start_char_index"],
            "end": quote["end_char_index"],
            "text": quote["cited_text"],
        }
        for quote in answer["citations"]
        if answered and quote["id"] not in row.wrong_citations
    ]
    if answered and not evidence:
        return "unquoted"
    return {
        "id": row.answer_id,
        "question": row.question,
        "answerable": answered,
        "evidence": evidence,
        "evidence_mode": "any",
        "language": answer["language"],
        "by": "feedback",
    }
