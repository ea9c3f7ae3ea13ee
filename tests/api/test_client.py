"""The client for Python against a real server, and against connections that break."""

from __future__ import annotations

import inspect
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import anyio
import httpx
import pytest
from pydantic import BaseModel

import longleaf
from api import schemas
from api.app import create_app
from api.loaders import Loaders
from api.wiring import Service
from longleaf import AsyncClient, Client, types
from longleaf.operations import Options
from longleaf.retries import Retries
from rag.settings import Settings
from tests.api.conftest import LEASE, listening

ROOT = Path(__file__).resolve().parents[2]
QUESTION = "How long is the notice period?"
QUICK = Retries(first=0.001)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, loaders: Loaders) -> Iterator[str]:
    """A running server."""
    settings = Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("client"))
    with listening(create_app(settings, Service(settings, loaders))) as port:
        yield f"http://127.0.0.1:{port}"


def test_a_document_from_file_to_answer(url: str, tmp_path: Path) -> None:
    (tmp_path / "lease.md").write_text(LEASE)
    told: list[tuple[int, int]] = []
    states: list[str] = []
    with Client(url) as client:
        sent = client.upload(
            tmp_path / "lease.md",
            collection="round trip ä",
            metadata={"year": 2021},
            on_progress=lambda done, total: told.append((done, total)),
        )
        assert told == [(0, len(LEASE)), (len(LEASE), len(LEASE))]
        document = client.wait(sent.id, on_change=lambda seen: states.append(seen.status))
        assert (document.filename, document.metadata, states[-1]) == ("lease.md", {"year": 2021}, "ready")
        assert client.text(document.id) == LEASE
        assert client.text(document.id, 2, 7) == LEASE[2:7]
        assert client.content(document.id) == LEASE.encode()
        assert [each.id for each in client.documents(collection="round trip ä")] == [document.id]
        assert client.chunks(document.id, limit=1).chunks[0].text in LEASE
        found = client.search(QUESTION, collection="round trip ä", filters={"year": 2021}, top_k=3)
        assert found[0].text == LEASE[found[0].start_char_index : found[0].end_char_index]
        assert (list(found), len(found), found.partial) == (found.results, len(found.results), None)
        answer = client.ask(QUESTION, document_ids=[document.id], mode="quotes")
        assert answer.answered
        for quote in answer.citations:
            assert quote.cited_text == LEASE[quote.start_char_index : quote.end_char_index]
        assert client.answer(answer.answer_id).answer == answer.answer
        given = client.give_feedback(answer.answer_id, correct=False, comment="No", wrong_citations=[1])
        assert (given.question, given.collection) == (QUESTION, "round trip ä")
        assert client.answer(answer.answer_id).feedback == types.Feedback(**given.model_dump())
        assert [each.id for each in client.feedback(collection="round trip ä", correct=False)] == [given.id]
        client.withdraw_feedback(answer.answer_id)
        assert client.feedback_page(collection="round trip ä").feedback == []
        with client.ask_stream(QUESTION, document_ids=[document.id], mode="quotes") as events:
            seen = list(events)
        assert isinstance(seen[0], types.Ledger)
        assert isinstance(seen[-1], types.Answer)
        assert [each.citation for each in seen if isinstance(each, types.Quote)] == seen[-1].citations
        assert client.change_metadata(document.id, {"year": None}).metadata == {}
        again = client.replace(document.id, LEASE.replace("fourteen", "twelve").encode(), filename="lease.md")
        assert client.wait(again.id).generation == 2
        assert [each.status for each in client.versions(again.id)] == ["ready", "superseded"]
        client.delete(again.id)
        with pytest.raises(longleaf.ApiError) as raised:
            client.document(again.id)
        assert (raised.value.status, raised.value.code) == (404, "document_not_found")
        assert raised.value.request_id
        client.delete_collection("round trip ä")


def test_the_same_awaited(url: str) -> None:
    async def all_of_it() -> None:
        async with AsyncClient(url) as client:
            await client.create_collection("awaited")
            file = io.BytesIO(LEASE.encode())
            sent = await client.upload(file, filename="lease.md", collection="awaited")
            assert not file.closed
            document = await client.wait(sent.id)
            assert [each.id async for each in client.documents(collection="awaited")] == [document.id]
            async with client.ask_stream(QUESTION, collection="awaited", mode="quotes") as events:
                seen = [each async for each in events]
            assert isinstance(seen[-1], types.Answer)
            assert seen[-1].answered
            with pytest.raises(longleaf.ApiError, match="duplicate_document"):
                await client.upload(LEASE.encode(), filename="x.md", collection="awaited")
            reused = await client.upload(
                LEASE.encode(), filename="x.md", collection="awaited", on_duplicate="reuse"
            )
            assert reused.id == document.id
            await client.delete_collection("awaited")

    anyio.run(all_of_it)


def test_what_cannot_be_read_is_said(url: str) -> None:
    with Client(url) as client:
        empty = client.upload(b"", filename="empty.txt")
        with pytest.raises(longleaf.NotReady, match=r"'empty\.txt'.*failed.*empty"):
            client.wait(empty.id)
        with pytest.raises(ValueError, match="filename="):
            client.upload(b"text")
        with pytest.raises(longleaf.ApiError) as raised:
            client.ask("")
        assert raised.value.problem["errors"]


class Breaking(httpx.BaseTransport):
    """A way to the server on which some requests are lost, or the answers to them."""

    def __init__(self, loses: Callable[[httpx.Request, int], str]) -> None:
        self._way = httpx.HTTPTransport()
        self._loses = loses
        self.seen: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request.method)
        lost = self._loses(request, self.seen.count(request.method))
        if lost == "request":
            raise httpx.WriteError("cut", request=request)
        response = self._way.handle_request(request)
        if lost == "answer":
            response.read()
            raise httpx.ReadError("cut", request=request)
        return response


@pytest.mark.parametrize("lost", ["request", "answer"])
@pytest.mark.parametrize("place", [1, 2, 5])
def test_an_upload_goes_on_where_it_broke(
    url: str, lost: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longleaf.uploads.PIECE_BYTES", 1000)
    content = f"{lost} {place}: ".encode() + b"The mill was built in 1650. " * 200
    pieces = -(-len(content) // 1000)
    way = Breaking(lambda request, time: lost if (request.method, time) == ("PATCH", place) else "")
    told: list[int] = []
    with Client(url, transport=way, retries=QUICK) as client:
        sent = client.upload(content, filename="mill.txt", on_progress=lambda done, _: told.append(done))
        assert client.content(sent.id) == content
        client.delete(sent.id)
    assert told == sorted(told)
    assert told[-1] == len(content)
    assert way.seen.count("PATCH") == pieces + (lost == "request")
    assert way.seen.count("HEAD") == 1


def test_an_upload_that_always_breaks_ends(url: str) -> None:
    way = Breaking(lambda request, _: "request" if request.method == "PATCH" else "")
    with Client(url, transport=way, retries=QUICK) as client, pytest.raises(longleaf.Unreachable):
        client.upload(b"text", filename="a.txt")
    assert way.seen.count("PATCH") < 20


def answering(*outcomes: httpx.Response | Exception) -> tuple[httpx.MockTransport, list[str]]:
    """A server that answers so, one after the other."""
    left = list(outcomes)
    seen: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.method)
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return httpx.MockTransport(handle), seen


EMPTY = {"documents": [], "next_cursor": None}
BUSY = {"status": 503, "code": "overloaded", "detail": "Too many questions at once."}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_was_refused_for_now_is_sent_again(status: int) -> None:
    way, seen = answering(
        httpx.Response(status, json=BUSY, headers={"Retry-After": "0"}),
        httpx.Response(status, text="<html>"),
        httpx.Response(200, json=EMPTY),
    )
    with Client("http://there", transport=way, retries=QUICK) as client:
        assert client.document_page().documents == []
    assert len(seen) == 3


def test_patience_has_an_end() -> None:
    way, seen = answering(*[httpx.Response(503, json=BUSY)] * 3)
    with (
        Client("http://there", transport=way, retries=Retries(most=2, first=0.001)) as client,
        pytest.raises(longleaf.ApiError, match=r"Too many questions at once\. \[503 overloaded\]"),
    ):
        client.document_page()
    assert len(seen) == 3
    way, seen = answering(httpx.Response(503, json=BUSY, headers={"Retry-After": "3600"}))
    with Client("http://there", transport=way, retries=QUICK) as client, pytest.raises(longleaf.ApiError):
        client.document_page()
    assert len(seen) == 1


def test_only_what_is_harmless_is_sent_twice_into_the_dark() -> None:
    way, seen = answering(httpx.ReadError("cut"), httpx.Response(200, json=EMPTY))
    with Client("http://there", transport=way, retries=QUICK) as client:
        assert client.document_page().documents == []
    assert len(seen) == 2
    way, seen = answering(httpx.ReadError("cut"))
    with (
        Client("http://there", transport=way, retries=QUICK) as client,
        pytest.raises(longleaf.Unreachable, match="http://there does not answer"),
    ):
        client.create_collection("once")
    assert len(seen) == 1
    way, seen = answering(httpx.ConnectError("refused"), httpx.Response(422, json={"detail": "no"}))
    with Client("http://there", transport=way, retries=QUICK) as client, pytest.raises(longleaf.ApiError):
        client.create_collection("never arrived the first time")
    assert len(seen) == 2


def test_address_and_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGLEAF_URL", "http://elsewhere:1")
    monkeypatch.setenv("LONGLEAF_API_KEY", "llf_x")
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=EMPTY)

    with Client(transport=httpx.MockTransport(handle)) as client:
        client.document_page()
    assert str(asked[0].url) == "http://elsewhere:1/documents"
    assert asked[0].headers["authorization"] == "Bearer llf_x"
    with pytest.raises(ValueError, match="http://"):
        Client("elsewhere:1")


PAIRS: list[tuple[type[BaseModel], type[BaseModel]]] = [
    (types.Answer, schemas.QueryResponse),
    (types.Chunk, schemas.Chunk),
    (types.ChunkPage, schemas.ChunkList),
    (types.Citation, schemas.Citation),
    (types.Collection, schemas.Collection),
    (types.Collections, schemas.CollectionList),
    (types.Disagreement, schemas.Disagreement),
    (types.Document, schemas.Document),
    (types.DocumentError, schemas.DocumentError),
    (types.DocumentPage, schemas.DocumentList),
    (types.Evidence, schemas.EvidenceVerdict),
    (types.Feedback, schemas.Feedback),
    (types.FeedbackPage, schemas.FeedbackList),
    (types.GivenFeedback, schemas.GivenFeedback),
    (types.Partial, schemas.Partial),
    (types.Receipt, schemas.Receipt),
    (types.Reembedding, schemas.Reembedding),
    (types.SearchResult, schemas.SearchResult),
    (types.SearchResults, schemas.SearchResponse),
    (types.SearchStep, schemas.SearchStep),
    (types.StoredAnswer, schemas.StoredAnswer),
    (types.Turn, schemas.Turn),
    (types.Usage, schemas.Usage),
    (types.Version, schemas.DocumentVersion),
    (types.Versions, schemas.VersionList),
]


def _shape(model: type[BaseModel]) -> dict[str, object]:
    """Kinds of a model's members, without descriptions and bounds."""

    def plain(schema: dict[str, Any]) -> object:
        if "$ref" in schema:
            return "object"
        if "anyOf" in schema:
            return sorted(str(plain(each)) for each in schema["anyOf"])
        if schema.get("type") == "array":
            return ["array", plain(schema["items"])]
        if "enum" in schema and len(schema["enum"]) > 0:
            return "string"
        return schema.get("type")

    properties: dict[str, Any] = model.model_json_schema(mode="serialization")["properties"]
    return {name: plain(schema) for name, schema in properties.items()}


@pytest.mark.parametrize(("ours", "served"), PAIRS)
def test_types_are_those_of_the_service(ours: type[BaseModel], served: type[BaseModel]) -> None:
    assert _shape(ours) == _shape(served)


def test_options_are_those_of_the_service() -> None:
    apart = {"question", "query", "stream"}
    assert set(Options.__annotations__) == set(schemas.QueryRequest.model_fields) - apart


def test_states_are_those_of_the_service() -> None:
    assert set(get_args(types.Status)) == set(get_args(schemas.Status))


def test_both_clients_are_one() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "sync_client.py"), "--check"]
    assert subprocess.run(script, check=False).returncode == 0
    methods = [name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")]
    text = (ROOT / "docs" / "python.md").read_text()
    assert [name for name in methods if f"`{name}`" not in text] == []


def test_nothing_of_the_service_is_imported() -> None:
    program = (
        "import sys, longleaf; sys.exit(bool({'torch', 'fastapi', 'api', 'rag', 'model'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
