"""Every public method of every repository: right for its own workspace, and blind to another's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, event, insert, update
from sqlalchemy.orm import Session

from ingest import jobs
from rag.errors import Conflict, InvalidRequest, NotFound
from rag.shards.placement import Layout
from rag.store import repositories
from rag.store.records import ChunkDraft, PageRow
from rag.store.repositories import (
    Answers,
    Changes,
    Chunks,
    Collections,
    Conversations,
    Documents,
    Feedback,
    Generations,
    Jobs,
    Layouts,
    Scope,
    SyncedFiles,
    Versions,
    Webhooks,
)
from rag.store.repositories.texts import read_ranges
from rag.store.scope import Repository, utc_now
from rag.store.session import Database
from rag.store.tables import TEXT_SEGMENT, Chunk, Workspace

TEXT = "Ägypten 𝒳 grüßt. " * 9_000  # more than two segments, with characters of one to four bytes
OWNER = "usr_same"  # in both workspaces, so that nothing but the workspace keeps them apart
MINE, THEIRS = Scope("ws_mine"), Scope("ws_theirs")


@dataclass
class Filled:
    """Two workspaces with a ready and a queued document each, alike but for their ids."""

    db: Database
    collection: dict[Scope, str]
    ready: dict[Scope, str]
    queued: dict[Scope, str]
    job: dict[Scope, str]
    answer: dict[Scope, str]
    chunks: dict[Scope, list[int]]
    conversation: dict[Scope, str]
    webhook: dict[Scope, str]
    delivery: dict[Scope, str]


@pytest.fixture
def filled(database: Database) -> Filled:
    store = Filled(database, *({} for _ in range(9)))
    for scope in (MINE, THEIRS):
        with database.session() as session:
            session.execute(
                insert(Workspace).values(id=scope.workspace_id, name=scope.workspace_id, created_at=utc_now())
            )
            collection = Collections(session, scope).create("papers", "e5@1").id
            documents = Documents(session, scope)
            for kind, digest in ((store.ready, "a"), (store.queued, "b")):
                row = documents.add(
                    collection,
                    title=f"Title {digest}",
                    filename=f"{digest}.txt",
                    sha256=digest * 64,
                    size=len(TEXT),
                    meta={"year": 2020},
                )
                kind[scope] = row.id
                job = jobs.enqueue(session, scope, row.id, 1)
                store.job[scope] = job.id
            _write(session, scope, store.ready[scope], 1)
            Generations(session, scope).publish(store.ready[scope], 1)
            store.chunks[scope] = [
                row.id for row in Chunks(session, scope).of_generation(store.ready[scope], 1)
            ]
            recipe = {"seed": 1, "collection_id": collection, "citations": [1, 2]}
            store.answer[scope] = Answers(session, scope).add("Why?", recipe).id
            Feedback(session, scope, OWNER).give(store.answer[scope], correct=True)
            store.collection[scope] = collection
            Layouts(session, scope).put(collection, FIRST)
            conversations = Conversations(session, scope, OWNER)
            store.conversation[scope] = conversations.create(collection).id
            conversations.append(store.conversation[scope], store.answer[scope], "Why?")
            webhooks = Webhooks(session, scope)
            hook, _ = webhooks.create("https://example.org/", ["document.ready"], created_by=OWNER)
            webhooks.announce("document.ready", store.ready[scope], collection, generation=1)
            store.webhook[scope] = hook.id
            [store.delivery[scope]] = [row.id for row in webhooks.deliveries(hook.id)]
    return store


def _write(session: Session, scope: Scope, document_id: str, generation: int) -> None:
    generations = Generations(session, scope)
    generations.write_text(document_id, generation, TEXT)
    generations.write_pages(document_id, generation, [PageRow(1, 0, 100), PageRow(2, 100, len(TEXT))])
    drafts = [ChunkDraft(n, n * 50, n * 50 + 50, 1, 1, ("Head",), 12) for n in range(4)]
    assert generations.write_chunks(document_id, generation, drafts) == 4
    pending = generations.pending(document_id, generation)
    vectors = {row.id: np.full(3, row.ordinal, dtype=np.float16) for row in pending}
    generations.write_vectors(document_id, generation, vectors)


FIRST = Layout.even(1, 1)
SECOND = Layout.even(2, 1, after=FIRST)
DRAFT = [ChunkDraft(0, 0, 1, None, None, (), 1)]
Call = Callable[[Session, Filled, Scope], Any]


def _announced(session: Session, filled: Filled, of: Scope) -> bool:
    before = len(Webhooks(session, of).deliveries(filled.webhook[of]))
    Webhooks(session, MINE).announce("document.ready", filled.ready[of], filled.collection[of], generation=2)
    return len(Webhooks(session, of).deliveries(filled.webhook[of])) > before


# How each public method is asked, by `MINE`, for something of the workspace `of`.
REFUSED: dict[str, Call] = {
    "Answers.add": lambda s, _, of: Answers(s, of).get(Answers(s, MINE).add("?", {}).id),
    "Collections.create": lambda s, _, of: Collections(s, of).get(Collections(s, MINE).create("x", "e").id),
    "Answers.get": lambda s, f, of: Answers(s, MINE).get(f.answer[of]),
    "Answers.delete": lambda s, f, of: Answers(s, MINE).delete(f.answer[of]),
    "Layouts.put": lambda s, f, of: Layouts(s, MINE).put(f.collection[of], SECOND),
    "Layouts.remove": lambda s, f, of: Layouts(s, MINE).remove(f.collection[of]),
    "Changes.append": lambda s, f, of: Changes(s, MINE).append(f.collection[of], f.ready[of], 1, "publish"),
    "Changes.rebuild": lambda s, f, of: Changes(s, MINE).rebuild(f.collection[of]),
    "Changes.after": lambda s, f, of: Changes(s, MINE).after(f.collection[of], 0),
    "Changes.latest": lambda s, f, of: Changes(s, MINE).latest(f.collection[of]),
    "Changes.newest": lambda s, f, of: Changes(s, MINE).newest(f.collection[of]),
    "Chunks.of_generation": lambda s, f, of: Chunks(s, MINE).of_generation(f.ready[of], 1),
    "Chunks.vectors": lambda s, f, of: Chunks(s, MINE).vectors(f.ready[of], 1),
    "Chunks.of_document": lambda s, f, of: Chunks(s, MINE).of_document(f.ready[of]),
    "Collections.get": lambda s, f, of: Collections(s, MINE).get(f.collection[of]),
    "Collections.set_budget": lambda s, f, of: Collections(s, MINE).set_budget(f.collection[of], 4096),
    "Collections.set_limit": lambda s, f, of: Collections(s, MINE).set_limit(
        f.collection[of], "max_documents", 9
    ),
    "Collections.lock_if_limited": lambda s, f, of: Collections(s, MINE).lock_if_limited(f.collection[of]),
    "Collections.check_limits": lambda s, f, of: Collections(s, MINE).check_limits(f.collection[of]),
    "Collections.require_embedder": lambda s, f, of: Collections(s, MINE).require_embedder(
        f.collection[of], Collections(s, MINE).get(f.collection[of]).embedder
    ),
    "Versions.rename_unread": lambda s, f, of: Versions(s, MINE).rename_unread(f.ready[of], "f", "t"),
    "Collections.share": lambda s, f, of: Collections(s, MINE).share(f.collection[of]),
    "SyncedFiles.list": lambda s, f, of: SyncedFiles(s, MINE).list(f.collection[of], "papers"),
    "SyncedFiles.roots": lambda s, f, of: SyncedFiles(s, MINE).roots(f.collection[of]),
    "SyncedFiles.held_elsewhere": lambda s, f, of: SyncedFiles(s, MINE).held_elsewhere(
        f.collection[of], "papers"
    ),
    "SyncedFiles.put": lambda s, f, of: SyncedFiles(s, MINE).put(f.collection[of], "papers", []),
    "SyncedFiles.touch": lambda s, f, of: SyncedFiles(s, MINE).touch(f.collection[of], "papers", []),
    "SyncedFiles.drop": lambda s, f, of: SyncedFiles(s, MINE).drop(f.collection[of], "papers", ["a.txt"]),
    "Collections.lock": lambda s, f, of: Collections(s, MINE).lock(f.collection[of]),
    "Collections.counts": lambda s, f, of: Collections(s, MINE).counts(f.collection[of]),
    "Documents.add": lambda s, f, of: Documents(s, MINE).add(
        f.collection[of], title="t", filename="f", sha256="c" * 64, size=1
    ),
    "Documents.get": lambda s, f, of: Documents(s, MINE).get(f.ready[of]),
    "Documents.lock": lambda s, f, of: Documents(s, MINE).lock(f.ready[of]),
    "Documents.set": lambda s, f, of: Documents(s, MINE).set(f.ready[of], status="parsing"),
    "Documents.describe": lambda s, f, of: Documents(s, MINE).describe(f.ready[of], meta={}, title="t"),
    "Documents.text": lambda s, f, of: Documents(s, MINE).text(f.ready[of]),
    "Documents.text_parts": lambda s, f, of: Documents(s, MINE).text_parts(f.ready[of]),
    "Documents.text_slices": lambda s, f, of: Documents(s, MINE).text_slices(f.ready[of], [(0, 1)]),
    "Documents.pages": lambda s, f, of: Documents(s, MINE).pages(f.ready[of]),
    "Documents.page": lambda s, f, of: Documents(s, MINE).page(f.ready[of], 1),
    "Generations.write_text": lambda s, f, of: Generations(s, MINE).write_text(f.ready[of], 2, "x"),
    "Generations.write_pages": lambda s, f, of: Generations(s, MINE).write_pages(
        f.ready[of], 2, [PageRow(1, 0, 1)]
    ),
    "Generations.write_chunks": lambda s, f, of: Generations(s, MINE).write_chunks(f.ready[of], 2, DRAFT),
    "Generations.progress": lambda s, f, of: Generations(s, MINE).progress(f.ready[of], 1),
    "Generations.pending": lambda s, f, of: Generations(s, MINE).pending(f.ready[of], 1),
    "Generations.text_slices": lambda s, f, of: Generations(s, MINE).text_slices(f.ready[of], 1, [(0, 1)]),
    "Generations.write_vectors": lambda s, f, of: Generations(s, MINE).write_vectors(
        f.ready[of], 1, {f.chunks[of][0]: np.zeros(3, dtype=np.float16)}
    ),
    "Generations.reuse_vectors": lambda s, f, of: Generations(s, MINE).reuse_vectors(f.ready[of], 2),
    "Generations.publish": lambda s, f, of: Generations(s, MINE).publish(f.ready[of], 1),
    "Generations.discard_unpublished": lambda s, f, of: Generations(s, MINE).discard_unpublished(f.ready[of]),
    "Generations.drop_all": lambda s, f, of: Generations(s, MINE).drop_all(f.ready[of]),
    "Jobs.get": lambda s, f, of: Jobs(s, MINE).get(f.job[of]),
    "Jobs.of_document": lambda s, f, of: Jobs(s, MINE).of_document(f.ready[of]),
    "Versions.list": lambda s, f, of: Versions(s, MINE).list(f.ready[of]),
    "Versions.get": lambda s, f, of: Versions(s, MINE).get(f.ready[of], 1),
    "Versions.newest": lambda s, f, of: Versions(s, MINE).newest(f.ready[of]),
    "Versions.shown": lambda s, f, of: Versions(s, MINE).shown(f.ready[of]),
    "Versions.add": lambda s, f, of: Versions(s, MINE).add(
        f.ready[of], filename="f", title="t", sha256="d" * 64, size=1
    ),
    "Versions.supersede": lambda s, f, of: Versions(s, MINE).supersede(f.ready[of]),
    "Versions.advance": lambda s, f, of: Versions(s, MINE).advance(f.ready[of], 1, status="ready"),
    "Conversations.get": lambda s, f, of: Conversations(s, MINE, OWNER).get(f.conversation[of]),
    "Conversations.answers": lambda s, f, of: Conversations(s, MINE, OWNER).answers(f.conversation[of]),
    "Conversations.create": lambda s, f, of: Conversations(s, MINE, OWNER).create(f.collection[of]),
    "Conversations.append": lambda s, f, of: Conversations(s, MINE, OWNER).append(
        f.conversation[of], Answers(s, MINE).add("And?", {}).id, "And?"
    ),
    "Conversations.check_may_append": lambda s, f, of: Conversations(s, MINE, OWNER).check_may_append(
        f.conversation[of]
    ),
    "Conversations.change": lambda s, f, of: Conversations(s, MINE, OWNER).change(
        f.conversation[of], title="t", shared=True
    ),
    "Conversations.delete": lambda s, f, of: Conversations(s, MINE, OWNER).delete(f.conversation[of]),
    "Webhooks.get": lambda s, f, of: Webhooks(s, MINE).get(f.webhook[of]),
    "Webhooks.create": lambda s, _, of: Webhooks(s, of).get(
        Webhooks(s, MINE).create("https://example.org/", [], created_by=OWNER)[0].id
    ),
    "Webhooks.change": lambda s, f, of: Webhooks(s, MINE).change(f.webhook[of], url="https://example.org/a"),
    "Webhooks.rotate": lambda s, f, of: Webhooks(s, MINE).rotate(f.webhook[of], timedelta(hours=1)),
    "Webhooks.deliveries": lambda s, f, of: Webhooks(s, MINE).deliveries(f.webhook[of]),
    "Webhooks.resend": lambda s, f, of: Webhooks(s, MINE).resend(f.webhook[MINE], f.delivery[of]),
    "Feedback.give": lambda s, f, of: Feedback(s, MINE, OWNER).give(f.answer[of], correct=False),
    "Feedback.withdraw": lambda s, f, of: Feedback(s, MINE, OWNER).withdraw(f.answer[of]),
    "Webhooks.delete": lambda s, f, of: Webhooks(s, MINE).delete(f.webhook[of]),
    # last, for they take away what others ask for
    "Collections.delete": lambda s, f, of: _emptied(s, f, of).delete(f.collection[of]),
    "Documents.delete": lambda s, f, of: Documents(s, MINE).delete(f.queued[of]),
}

# Methods that answer with what they may show: for a foreign id, nothing.
SILENT: dict[str, Call] = {
    "Answers.list": lambda s, f, of: [row for row in Answers(s, MINE).list() if row.id == f.answer[of]],
    "Layouts.find": lambda s, f, of: Layouts(s, MINE).find(f.collection[of]),
    "Layouts.all": lambda s, f, of: f.collection[of] in Layouts(s, MINE).all(),
    "Chunks.live": lambda s, f, of: Chunks(s, MINE).live(f.chunks[of]),
    "Chunks.read": lambda s, f, of: Chunks(s, MINE).read(f.chunks[of]),
    "Chunks.texts": lambda s, f, of: Chunks(s, MINE).texts(f.chunks[of]),
    "Chunks.count": lambda s, f, of: Chunks(s, MINE).count(collection_id=f.collection[of]),
    "Collections.list": lambda s, f, of: [
        row for row in Collections(s, MINE).list() if row.id == f.collection[of]
    ],
    "Collections.find": lambda s, f, of: (
        (found := Collections(s, MINE).find("papers")) and found.id == f.collection[of]
    ),
    "Collections.by_name": lambda s, f, of: Collections(s, MINE).by_name("papers").id == f.collection[of],
    "Collections.ensure": lambda s, f, of: (
        Collections(s, MINE).ensure("papers", "e5@1").id == f.collection[of]
    ),
    "Documents.many": lambda s, f, of: Documents(s, MINE).many([f.ready[of], f.queued[of]]),
    "Documents.list": lambda s, f, of: Documents(s, MINE).list(collection_id=f.collection[of]),
    "Documents.live": lambda s, f, of: Documents(s, MINE).live(f.collection[of]),
    "Documents.find_by_sha256": lambda s, f, of: Documents(s, MINE).find_by_sha256(
        f.collection[of], "a" * 64
    ),
    "Documents.count": lambda s, f, of: Documents(s, MINE).count(collection_id=f.collection[of]),
    "Versions.pending_with": lambda s, f, of: Versions(s, MINE).pending_with(f.collection[of], "b" * 64),
    "Feedback.own": lambda s, f, of: Feedback(s, MINE, OWNER).own(f.answer[of]),
    "Feedback.list": lambda s, f, of: [
        row for row in Feedback(s, MINE, OWNER).list() if row.answer_id == f.answer[of]
    ],
    "Conversations.list": lambda s, f, of: [
        row for row in Conversations(s, MINE, OWNER).list() if row.id == f.conversation[of]
    ],
    "Webhooks.list": lambda s, f, of: [row for row in Webhooks(s, MINE).list() if row.id == f.webhook[of]],
    "Webhooks.announce": _announced,
    "Jobs.list": lambda s, f, of: [row for row in Jobs(s, MINE).list() if row.document_id == f.ready[of]],
}


def _emptied(session: Session, filled: Filled, of: Scope) -> Collections:
    if of is MINE:
        for document_id in (filled.ready[MINE], filled.queued[MINE]):
            Documents(session, MINE).delete(document_id)
    return Collections(session, MINE)


ELSEWHERE = {"AuditLog", "Keys", "Members", "Quotas"}
"""Tried across workspaces in `test_audit_log.py` and, with the people that they need, in `test_people.py`;
`Quotas` takes nothing by which another workspace could be named."""


def public_methods() -> set[str]:
    classes = [
        value
        for value in vars(repositories).values()
        if inspect.isclass(value) and issubclass(value, Repository)
    ]
    return {
        f"{kind.__name__}.{name}"
        for kind in classes
        if kind.__name__ not in ELSEWHERE
        for name, member in vars(kind).items()
        if not name.startswith("_") and inspect.isfunction(member)
    }


def test_every_public_method_is_asked_across_workspaces() -> None:
    assert public_methods() == set(REFUSED) | set(SILENT)
    assert len(public_methods()) > 40


def test_no_method_reaches_another_workspace(filled: Filled) -> None:
    for name, call in REFUSED.items():
        with pytest.raises(NotFound) as caught, filled.db.session() as session:
            call(session, filled, THEIRS)
        assert caught.value.code.endswith("_not_found"), name
    for name, call in SILENT.items():
        with filled.db.session() as session:
            assert not call(session, filled, THEIRS), name


def test_every_method_answers_its_own_workspace(filled: Filled) -> None:
    for call in REFUSED.values():
        with filled.db.session() as session:
            call(session, filled, MINE)
            session.rollback()
    for name, call in SILENT.items():
        with filled.db.session() as session:
            assert call(session, filled, MINE), name
            session.rollback()


def test_nothing_of_theirs_changed(filled: Filled) -> None:
    for call in REFUSED.values():
        with pytest.raises(NotFound), filled.db.session() as session:
            call(session, filled, THEIRS)
    with filled.db.read() as session:
        assert Documents(session, THEIRS).text(filled.ready[THEIRS]) == TEXT
        assert Documents(session, THEIRS).get(filled.ready[THEIRS]).status == "ready"
        assert len(Changes(session, THEIRS).after(filled.collection[THEIRS], 0)) == 1
        assert Chunks(session, THEIRS).count() == 4


def test_slices_are_those_of_the_text(filled: Filled) -> None:
    end = len(TEXT)
    spans = [
        (0, 5),
        (7, 10),
        (TEXT_SEGMENT - 3, TEXT_SEGMENT + 3),
        (TEXT_SEGMENT, 2 * TEXT_SEGMENT + 1),
        (100, 100),
        (0, end),
        (end - 1, end + 50),
        (end + 5 * TEXT_SEGMENT, end + 6 * TEXT_SEGMENT),
    ]
    with filled.db.read() as session:
        documents = Documents(session, MINE)
        assert documents.text_slices(filled.ready[MINE], spans) == [TEXT[start:end] for start, end in spans]
        assert "".join(documents.text_parts(filled.ready[MINE])) == TEXT
        assert documents.text(filled.queued[MINE]) == ""
        keys = filled.chunks[MINE]
        assert Chunks(session, MINE).texts(keys) == {
            key: TEXT[n * 50 : n * 50 + 50] for n, key in enumerate(keys)
        }


@contextmanager
def statements(connection: Connection) -> Iterator[list[tuple[str, Any]]]:
    """What the database is asked meanwhile, with its parameters."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    yield asked
    event.remove(connection, "before_cursor_execute", note)


def sqlite_plan(connection: Connection, statement: str, parameters: Any) -> list[str]:
    """The steps in which SQLite would answer."""
    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
    return [str(row[-1]) for row in plan]


def test_chunks_are_read_with_their_texts_in_one_statement(filled: Filled) -> None:
    """Across the ends of what a text is stored in, too, and by keys alone."""
    ends = [(0, 5), (TEXT_SEGMENT - 3, TEXT_SEGMENT + 3), (TEXT_SEGMENT, 2 * TEXT_SEGMENT), (100, len(TEXT))]
    with filled.db.session() as session:
        for key, (start, end) in zip(filled.chunks[MINE], ends, strict=True):
            session.execute(update(Chunk).where(Chunk.id == key).values(start=start, end=end))
    with filled.db.glance() as session:
        connection = session.connection()
        with statements(connection) as asked:
            found = Chunks(session, MINE).read([*filled.chunks[MINE], *filled.chunks[THEIRS], 10**9])
        assert len(asked) == 1
        if filled.db.dialect == "sqlite":
            steps = sqlite_plan(connection, *asked[0])
            assert not any(step.startswith("SCAN") for step in steps), steps
    texts = {key: TEXT[start:end] for key, (start, end) in zip(filled.chunks[MINE], ends, strict=True)}
    assert {key: text for key, (_, text) in found.items()} == texts
    assert {key: (chunk.start, chunk.end) for key, (chunk, _) in found.items()} == dict(
        zip(filled.chunks[MINE], ends, strict=True)
    )


def test_what_is_about_to_become_these_bytes_is_found_by_them_however_many_documents_there_are(
    filled: Filled,
) -> None:
    with filled.db.read() as session:
        connection = session.connection()
        with statements(connection) as asked:
            assert Versions(session, MINE).pending_with(filled.collection[MINE], "c" * 64) is None
        if filled.db.dialect == "sqlite":
            plan = sqlite_plan(connection, *asked[0])
            steps = [step for step in plan if step.startswith(("SCAN", "SEARCH"))]
            assert "(sha256=?)" in steps[0], steps
            assert all("(id=?)" in step for step in steps[1:]), steps


def test_ranges_are_found_by_their_key_however_many_texts_there_are(filled: Filled) -> None:
    ranges = [(filled.ready[scope], 1, start, start + 5) for scope in (MINE, THEIRS) for start in (0, 70_000)]
    ranges += [("doc_of_nobody", 1, 0, 3), (filled.ready[MINE], 1, 7, 7)]
    with filled.db.read() as session:
        connection = session.connection()
        with statements(connection) as asked:
            texts = read_ranges(session, ranges)
        assert texts == [*[TEXT[start : start + 5] for _ in "ab" for start in (0, 70_000)], "", ""]
        assert len(asked) == 1
        if filled.db.dialect == "sqlite":
            steps = sqlite_plan(connection, *asked[0])
            assert any("document_id=? AND generation=?" in step for step in steps), steps
            assert not any(step.startswith("SCAN") for step in steps), steps


def test_chunks_come_back_as_written(filled: Filled) -> None:
    with filled.db.read() as session:
        chunks = Chunks(session, MINE)
        rows = chunks.of_generation(filled.ready[MINE], 1)
        assert [row.ordinal for row in rows] == [0, 1, 2, 3]
        assert rows[2].headings == ("Head",)
        assert rows[2].vector is not None
        assert rows[2].vector.tolist() == [2, 2, 2]
        keys, vectors = chunks.vectors(filled.ready[MINE], 1)
        assert keys.tolist() == [row.id for row in rows]
        assert (vectors.shape, vectors.dtype) == ((4, 3), np.float16)
        assert chunks.vectors(filled.ready[MINE], 7)[1].shape == (0, 0)
        live = chunks.live([*keys, 10**9])
        assert set(live) == set(keys.tolist())
        assert live[int(keys[0])].document_title == "Title a"
        middle = chunks.of_document(filled.ready[MINE], first=1, last=2)
        assert [row.ordinal for row in middle] == [1, 2]


def test_a_new_generation_replaces_the_live_one_at_once(filled: Filled) -> None:
    document_id, old = filled.ready[MINE], filled.chunks[MINE]
    with filled.db.session() as session:
        _write(session, MINE, document_id, 2)
    with filled.db.read() as session:
        assert set(Chunks(session, MINE).live(old)) == set(old)
        assert Chunks(session, MINE).count() == 4
    with filled.db.session() as session:
        Generations(session, MINE).publish(document_id, 2)
    with filled.db.read() as session:
        assert Chunks(session, MINE).live(old) == {}
        assert Chunks(session, MINE).of_generation(document_id, 1) == []
        assert Documents(session, MINE).get(document_id).generation == 2
        assert Documents(session, MINE).text(document_id) == TEXT
        log = Changes(session, MINE).after(filled.collection[MINE], 0)
        assert [(change.generation, change.kind) for change in log] == [(1, "publish"), (2, "publish")]
        assert Changes(session, MINE).after(filled.collection[MINE], log[0].seq) == log[1:]
        assert Changes(session, MINE).newest(filled.collection[MINE]) == log[1].seq


def test_a_generation_with_a_chunk_that_has_no_vector_is_not_published(filled: Filled) -> None:
    document_id = filled.queued[MINE]
    with filled.db.session() as session:
        Generations(session, MINE).write_chunks(document_id, 1, DRAFT)
    with pytest.raises(RuntimeError, match="1 of 1 chunks"), filled.db.session() as session:
        Generations(session, MINE).publish(document_id, 1)


def test_vectors_are_refused_for_chunks_of_another_document(filled: Filled) -> None:
    theirs = {filled.chunks[THEIRS][0]: np.ones(3, dtype=np.float16)}
    with pytest.raises(NotFound, match="lacks"), filled.db.session() as session:
        Generations(session, MINE).write_vectors(filled.ready[MINE], 1, theirs)


def test_chunk_keys_are_never_given_out_twice(filled: Filled) -> None:
    highest = max(filled.chunks[THEIRS])
    with filled.db.session() as session:
        Generations(session, MINE).drop_all(filled.ready[MINE])
        Generations(session, THEIRS).drop_all(filled.ready[THEIRS])
        Generations(session, MINE).write_chunks(filled.ready[MINE], 2, DRAFT)
        assert Generations(session, MINE).pending(filled.ready[MINE], 2)[0].id > highest


def test_nul_is_refused_on_both_databases(filled: Filled) -> None:
    with pytest.raises(ValueError, match="NUL"), filled.db.session() as session:
        Generations(session, MINE).write_text(filled.queued[MINE], 1, "a\0b")


def test_the_same_bytes_conflict_within_a_collection_only(filled: Filled) -> None:
    with filled.db.session() as session:
        documents = Documents(session, MINE)
        with pytest.raises(Conflict) as caught:
            documents.add(filled.collection[MINE], title="t", filename="f", sha256="a" * 64, size=1)
        assert caught.value.code == "duplicate_document"
        assert caught.value.extra == {"existing_document_id": filled.ready[MINE]}
        other = Collections(session, MINE).create("others", "e5@1")
        assert documents.add(other.id, title="t", filename="f", sha256="a" * 64, size=1).status == "queued"


def test_documents_are_paged_newest_first(filled: Filled) -> None:
    with filled.db.session() as session:
        documents = Documents(session, MINE)
        for n in range(5):
            documents.add(filled.collection[MINE], title=str(n), filename="f", sha256=f"{n:064}", size=1)
        every = [row.id for row in documents.list()]
        assert every == sorted(every, reverse=True)
        assert len(every) == 7
        first = documents.list(limit=4)
        rest = documents.list(limit=4, before=first[-1].id)
        assert [row.id for row in first + rest] == every
        assert [row.id for row in documents.list(status="ready")] == [filled.ready[MINE]]
        assert Collections(session, MINE).counts(filled.collection[MINE]) == {"queued": 6, "ready": 1}


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101, "a\u202eb", "a/b", ".a", " a"])
def test_collection_names_are_printable(database: Database, name: str) -> None:
    with pytest.raises(InvalidRequest, match="be a collection's name"), database.session() as session:
        Collections(session, repositories.DEFAULT_SCOPE).create(name, "e")


def test_a_taken_collection_name_conflicts_and_the_transaction_goes_on(database: Database) -> None:
    with database.session() as session:
        collections = Collections(session, repositories.DEFAULT_SCOPE)
        first = collections.create("a", "e")
        with pytest.raises(Conflict, match="already a collection named 'a'"):
            collections.create("a", "e")
        assert collections.ensure("a", "e") == first
        assert [row.name for row in collections.list()] == ["a"]


def test_a_collections_budget_is_set_and_taken_back(database: Database) -> None:
    with database.session() as session:
        collections = Collections(session, repositories.DEFAULT_SCOPE)
        made, other = collections.create("a", "e"), collections.create("b", "e")
        assert made.max_context_tokens is None
        assert collections.set_budget(made.id, 4096).max_context_tokens == 4096
        assert collections.get(other.id).max_context_tokens is None
    with database.session() as session:
        collections = Collections(session, repositories.DEFAULT_SCOPE)
        assert collections.by_name("a").max_context_tokens == 4096
        assert collections.set_budget(made.id, None).max_context_tokens is None


@pytest.mark.parametrize("tokens", [0, -1, 63, 2**31])
def test_a_budget_that_no_answer_could_use_is_refused(database: Database, tokens: int) -> None:
    with database.session() as session:
        collections = Collections(session, repositories.DEFAULT_SCOPE)
        made = collections.create("a", "e")
        with pytest.raises(InvalidRequest, match=f"budget of {tokens} tokens"):
            collections.set_budget(made.id, tokens)
