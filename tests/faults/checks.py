"""The four promises, checked from outside by HTTP and from below in the tables and folders."""

from __future__ import annotations

import time
from typing import Any

import httpx
from sqlalchemy import text

from rag.store.session import Database
from tests.faults.house import House
from tests.faults.record import Kept, Record, Sent

FINAL = {"ready", "failed", "cancelled"}
FORGIVEN = {"poison_document", "out_of_memory"}
"""What a document may fail with whose worker or parser was killed again and again."""
SECONDS = 180.0
AGAIN = 0.2
"""Share of the documents whose bytes are looked at once more though nothing new was sent."""


class Violation(AssertionError):
    """A promise was broken."""


def check_all(house: House, record: Record, db: Database) -> None:
    """Wait until nothing is in work, then look at everything. Raises Violation."""
    documents = _settle(house, record)
    _adopt(record, documents)
    for kept in list(record.kept.values()):
        _one(house, record, kept, documents)
    for document_id, versions in list(record.deleted.items())[-3:]:
        _deleted(house, document_id, [sent.token for sent in versions])
    if back := record.deleted.keys() & documents.keys():
        raise Violation(f"deleted and there again: {sorted(back)}")
    below(house, db)


def _settle(house: House, record: Record) -> dict[str, dict[str, Any]]:
    """Every document once it is in a final state; what was cancelled or set aside is retried."""
    deadline, retried = time.monotonic() + SECONDS, set[str]()
    while True:
        listed = house.client.get("/documents", params={"limit": 1000})
        if listed.status_code != 200:
            raise Violation(f"the list answers {listed.status_code} after healing: {listed.text}")
        documents = {entry["id"]: entry for entry in listed.json()["documents"]}
        open_ones = []
        for document in documents.values():
            state = document.get("updating") or document
            if state["status"] in {"failed", "cancelled"}:
                code = (state["error"] or {}).get("code")
                if state["status"] == "failed" and (code not in FORGIVEN or document["id"] in retried):
                    raise Violation(f"{document['id']} failed for no fault of its own: {state['error']}")
                if state["status"] == "failed":
                    record.set_aside += 1
                    retried.add(document["id"])
                answer = house.client.post(f"/documents/{document['id']}/retry")
                if answer.status_code not in {202, 409}:
                    raise Violation(f"retry of {document['id']} answers {answer.status_code}: {answer.text}")
                open_ones.append(state)
            elif state["status"] not in FINAL:
                open_ones.append(state)
        if not open_ones:
            return documents
        if time.monotonic() > deadline:
            raise Violation(f"stuck for {SECONDS:.0f} s: {open_ones}")
        time.sleep(0.1)


def _adopt(record: Record, documents: dict[str, dict[str, Any]]) -> None:
    """Find out what became of requests whose answer was not heard."""
    unheard = {sent.sha256: sent for sent in record.unheard}
    for document_id, document in documents.items():
        if document_id not in record.kept and document_id not in record.deleted:
            sent = unheard.get(document["sha256"])
            if sent is None:
                raise Violation(f"{document_id} is there, and nobody sent it: {document['filename']}")
            record.hold(document_id, sent)
    for kept in list(record.kept.values()):
        document = documents.get(kept.id)
        if document is None:
            if not kept.perhaps_deleted:
                raise Violation(f"{kept.id} was acknowledged and is lost")
            record.drop(kept.id)
            continue
        kept.perhaps_deleted = False
        if kept.unsure:
            matching = [sent for sent in kept.versions if sent.sha256 == document["sha256"]]
            if matching:
                kept.versions, kept.unsure = matching[-1:], False


def _one(house: House, record: Record, kept: Kept, documents: dict[str, dict[str, Any]]) -> None:
    document, sent = documents[kept.id], kept.versions[-1]
    where = f"/documents/{kept.id}"
    if document["sha256"] != sent.sha256:
        raise Violation(f"{kept.id} holds other bytes than those that were acknowledged ({sent.filename})")
    if document["status"] != "ready":
        raise Violation(f"{kept.id} is {document['status']}")
    shown = house.client.get(f"{where}/text").text
    if sent.token not in shown:
        raise Violation(f"{kept.id}: the text lacks {sent.token}")
    if kept.read != sent.sha256 or record.rng.random() < AGAIN:
        _bytes(house, kept, sent, shown)
        kept.read = sent.sha256
    for client in house.clients.values():
        _found(client, kept, sent, shown, record)


def _bytes(house: House, kept: Kept, sent: Sent, shown: str) -> None:
    content = house.client.get(f"/documents/{kept.id}/content")
    if content.status_code != 200 or content.content != sent.content:
        raise Violation(
            f"{kept.id}: the original answers {content.status_code}, {len(content.content)} bytes"
        )
    if sent.text and shown != sent.text:
        raise Violation(f"{kept.id}: the text is not what was sent")


def _found(client: httpx.Client, kept: Kept, sent: Sent, shown: str, record: Record) -> None:
    found = client.post("/search", json={"query": sent.token, "top_k": 5})
    if found.status_code != 200:
        raise Violation(f"search answers {found.status_code}: {found.text}")
    results = found.json()["results"]
    if kept.id not in {result["document_id"] for result in results}:
        raise Violation(f"{kept.id} is ready and no search finds {sent.token}")
    for result in results:
        if result["document_id"] not in record.kept:
            raise Violation(f"a search found {result['document_id']}, which is not there")
        if result["document_id"] == kept.id:
            part = shown[result["start_char_index"] : result["end_char_index"]]
            if part != result["text"]:
                raise Violation(f"{kept.id}: a search quotes what the text does not say")


def _deleted(house: House, document_id: str, tokens: list[str]) -> None:
    answer = house.client.get(f"/documents/{document_id}")
    if answer.status_code != 404:
        raise Violation(f"{document_id} was deleted and answers {answer.status_code}")
    for client in house.clients.values():
        for token in tokens:
            found = client.post("/search", json={"query": token, "top_k": 10}).json()["results"]
            if any(token in result["text"] or result["document_id"] == document_id for result in found):
                raise Violation(f"{document_id} was deleted and a search finds it")


def below(house: House, db: Database) -> None:
    """Nothing is left of what is not there: no row of a dead generation, no job in work, no file too many."""
    with db.read() as session:
        counts = {
            "chunks without a live generation": "SELECT count(*) FROM chunks c JOIN documents d "
            "ON d.id = c.document_id WHERE c.generation <> d.generation",
            "chunks without a document": "SELECT count(*) FROM chunks WHERE document_id NOT IN "
            "(SELECT id FROM documents)",
            "chunks without a vector": "SELECT count(*) FROM chunks WHERE vector IS NULL",
            "texts without a live generation": "SELECT count(*) FROM texts t JOIN documents d "
            "ON d.id = t.document_id WHERE t.generation <> d.generation",
            "jobs in work": "SELECT count(*) FROM ingest_jobs WHERE status IN ('queued', 'running')",
            "documents with two publications of one generation": "SELECT count(*) FROM "
            "(SELECT 1 FROM changes WHERE kind = 'publish' "
            "GROUP BY document_id, generation HAVING count(*) > 1) AS twice",
        }
        for what, query in counts.items():
            if number := session.scalar(text(query)):
                raise Violation(f"{number} {what}")
        live = {row[0]: row[1] for row in session.execute(text("SELECT id, generation FROM documents"))}
    for document_id, generation in live.items():
        name = document_id if generation == 1 else f"{document_id}.{generation}"
        if not (house.data / "blobs" / name).exists():
            raise Violation(f"the original of {name} is not there")


def check_files(house: House, db: Database) -> None:
    """After a start, before anything else: no file is left without a document. Raises Violation."""
    with db.read() as session:
        live = {row[0] for row in session.execute(text("SELECT id FROM documents"))}
    for path in (house.data / "blobs").glob("doc_*"):
        if path.name.split(".")[0] not in live:
            raise Violation(f"{path.name} lies there without a document")
    for path in (house.data / "tmp").glob("upload_*"):
        raise Violation(f"{path.name} is left of an upload")
