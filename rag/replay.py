"""Replay: a stored answer made once more, and what is different if it is not the same.

The question is asked again with everything that it was asked with: request, seed, sampling. If the answer
comes out the same and nothing that it rests on has changed, the first response's bytes are given back.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rag.answer import Answer, AnswerRequest, DoneEvent
from rag.errors import LongleafError, NotFound, Unavailable
from rag.recipe import FORMAT, Kept, State, as_first, digest, keep, request_of
from rag.store.records import AnswerRow
from rag.store.repositories import Answers, Changes, Collections, Documents
from rag.store.scope import Scope
from rag.store.session import Database

Change = dict[str, Any]


@dataclass(frozen=True)
class Replay:
    """`answer` as it is now, None where the question can't be answered any more; `changed` is empty where it
    is the first one, to the byte."""

    answer: Answer | None
    changed: tuple[Change, ...]


class Again(Protocol):
    """The part of `rag.answering.Answerer` that is needed here."""

    db: Database

    def answer(
        self, request: AnswerRequest, cancel: threading.Event, *, kept: bool = True
    ) -> Iterator[Any]: ...

    def state(self, scope: Scope, collection_id: str) -> State: ...


def replay(again: Again, scope: Scope, answer_id: str, cancel: threading.Event) -> Replay | None:
    """Answer a stored question again; None when cancelled.

    Raises NotFound (`answer_not_found`), Unavailable.
    """
    with again.db.read() as session:
        row = Answers(session, scope).get(answer_id)
    recipe = row.recipe
    if recipe.get("format") != FORMAT:
        return Replay(None, ({"what": "format"},))
    words = row.words or {}
    request = request_of(row.question, recipe, words, scope.workspace_id)
    if not _there(again.db, scope, request.scope.collection_id):
        return Replay(None, ({"what": "collection_deleted"},))
    state = again.state(scope, request.scope.collection_id)
    changed = [*_documents(again.db, scope, row), *_fingerprints(recipe, state)]
    if recipe["turns"] and row.words is None:
        return Replay(None, (*changed, {"what": "withdrawn"}))
    try:
        answer = _made(again, request, cancel)
    except Unavailable:
        raise
    except LongleafError as error:
        return Replay(None, (*changed, {"what": "refused", "code": error.code, "detail": error.detail}))
    if answer is None:
        return None
    changed += _effects(row, keep(request, answer, state))
    return Replay(as_first(answer, answer_id, recipe, words), tuple(changed))


def _there(db: Database, scope: Scope, collection_id: str) -> bool:
    with db.read() as session:
        try:
            Collections(session, scope).get(collection_id)
        except NotFound:
            return False
    return True


def _made(again: Again, request: AnswerRequest, cancel: threading.Event) -> Answer | None:
    # Receipts are numbers of the first time and are given back with it.
    for event in again.answer(replace(request, receipts=False), cancel, kept=False):
        if isinstance(event, DoneEvent):
            return event.answer
    return None


def _documents(db: Database, scope: Scope, row: AnswerRow) -> list[Change]:
    """What has become of the documents that were read, and which came or went beside them: how rare a word is
    depends on all documents of the collection, also on those outside the question's scope."""
    recipe, found = row.recipe, list[Change]()
    read = {document: generation for document, generation, *_ in (*recipe["segments"], *recipe["dropped"])}
    with db.read() as session:
        documents = Documents(session, scope)
        logged = _since(Changes(session, scope), recipe["request"]["collection_id"], recipe["sequence"])
        rows = documents.many(sorted({*read, *logged}))
        for document in sorted({*read, *logged}):
            here = rows.get(document)
            live = here is not None and here.generation > 0
            if here is None or not live:
                found.append({"what": "document_deleted", "document_id": document})
            elif document not in read:
                found.append({"what": "document_published", "document_id": document})
            elif here.generation != read[document]:
                found.append(
                    {
                        "what": "document_updated",
                        "document_id": document,
                        "before": read[document],
                        "after": here.generation,
                    }
                )
        digests = (row.words or {}).get("passages", [])
        for place, before in zip(recipe["segments"], digests, strict=False):
            document, generation, start, end, _ = place
            here = rows.get(document)
            if here is None or here.generation != generation:
                continue
            [text] = documents.text_slices(document, [(start, end)])
            if digest(text) != before:
                found.append(
                    {
                        "what": "passage_text",
                        "document_id": document,
                        "start_char_index": start,
                        "end_char_index": end,
                    }
                )
    return found


def _since(changes: Changes, collection_id: str, sequence: int) -> set[str]:
    documents: set[str] = set()
    while page := changes.after(collection_id, sequence):
        documents |= {change.document_id for change in page}
        sequence = page[-1].seq
    return documents


def _fingerprints(recipe: Mapping[str, Any], state: State) -> list[Change]:
    return [
        {"what": name, "before": recipe[name], "after": getattr(state, name)}
        for name in ("model", "embedder", "release")
        if recipe[name] != getattr(state, name)
    ]


def _effects(row: AnswerRow, now: Kept) -> list[Change]:
    """Where the way of the answer, or the answer, differs."""
    recipe, words = row.recipe, row.words
    found: list[Change] = []
    if recipe["budget"] != now.recipe["budget"]:
        found.append({"what": "budget", "before": recipe["budget"], "after": now.recipe["budget"]})
    # Further searches are given up where time is short: then fewer were made than the first time.
    if words is not None and _asked(words) != _asked(now.words):
        found.append(
            {"what": "searches", "before": len(words["searches"]), "after": len(now.words["searches"])}
        )
    before, after = recipe["ranking"], now.recipe["ranking"]
    if before != after:
        same = next(
            (at for at, (a, b) in enumerate(zip(before, after, strict=False)) if a != b),
            min(len(before), len(after)),
        )
        found.append({"what": "ranking", "first_difference": same + 1})
    found += [{"what": name} for name in ("segments", "dropped", "citations") if _differs(recipe, now, name)]
    found += [
        {"what": name, "before": recipe[name], "after": now.recipe[name]}
        for name in ("status", "kind", "evidence", "language")
        if recipe[name] != now.recipe[name]
    ]
    if words is None:
        found.append({"what": "withdrawn"})
    else:
        found += [
            {"what": name}
            for name in ("answer", "warnings", "disagreements")
            if words[name] != now.words[name]
        ]
        if not found and words["body"] != now.words["body"]:
            found.append({"what": "body"})
    return found


def _asked(words: Mapping[str, Any]) -> list[str]:
    return [search["query"] for search in words["searches"]]


def _differs(recipe: Mapping[str, Any], now: Kept, name: str) -> bool:
    before, after = ([list(each) for each in found[name]] for found in (recipe, now.recipe))
    return before != after
