"""Quotas of a workspace: of documents and of bytes, also for those who send at the same moment."""

from __future__ import annotations

import pytest
from ingesting import Desk, at_once

from ingest.updates import replace_file
from ingest.uploads import NewDocument
from rag.errors import Conflict, LongleafError, TooLarge
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Documents, Workspaces
from rag.store.session import Database


def _limit(db: Database, **limits: int | None) -> None:
    with db.session() as session:
        Workspaces(session).limit("ws_default", **limits)


@pytest.mark.parametrize("by", ["documents", "bytes"])
def test_uploads_at_once_never_pass_the_last_place_together(
    database: Database, settings: Settings, by: str
) -> None:
    desks = [Desk(database, settings, name=f"c{number}") for number in range(2)]
    _limit(database, **({"max_documents": 3} if by == "documents" else {"max_bytes": 39}))
    results = at_once(
        *(lambda n=n: desks[n % 2].upload(b"ten bytes %d" % (10 + n), f"{n}.txt") for n in range(8))
    )
    refused = [each for each in results if isinstance(each, LongleafError)]
    assert len(refused) == 5, results
    code, kind = ("document_quota", Conflict) if by == "documents" else ("storage_quota", TooLarge)
    assert {each.code for each in refused} == {code}
    assert all(isinstance(each, kind) for each in refused)
    assert desks[0].rows("documents") == 3
    assert len(desks[0].files()) == 3


def test_the_settings_count_where_a_workspace_has_no_quota_of_its_own(
    database: Database, settings: Settings
) -> None:
    desk = Desk(database, settings.model_copy(update={"workspace_max_documents": 1}))
    first = desk.upload(b"one").document.id
    with pytest.raises(Conflict, match="would have 2 documents, its quota is 1"):
        desk.upload(b"two")
    _limit(database, max_documents=2)
    desk.upload(b"two")
    _limit(database, max_documents=0)
    desk.upload(b"three")
    _limit(database, max_documents=None)
    with pytest.raises(Conflict):
        desk.upload(b"four")
    assert desk.upload(b"one", reuse=True).document.id == first
    with database.session() as session:
        for row in Documents(session, DEFAULT_SCOPE).list():
            Documents(session, DEFAULT_SCOPE).delete(row.id)
    desk.upload(b"four")


def test_a_larger_file_for_a_document_counts(database: Database, settings: Settings) -> None:
    desk = Desk(database, settings)
    _limit(database, max_bytes=10)
    document = desk.upload(b"12345").document.id

    def replace(content: bytes) -> None:
        with desk.sink(content) as sink:
            replace_file(database, settings, DEFAULT_SCOPE, document, NewDocument(sink, "a.txt"))

    replace(b"1234567890")
    with pytest.raises(TooLarge, match="would have 11 bytes, its quota is 10") as refused:
        replace(b"12345678901")
    assert refused.value.code == "storage_quota"
