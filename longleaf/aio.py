"""The client whose methods are awaited. `client.py` is made of this file: `python scripts/sync_client.py`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar, Unpack

import anyio
import anyio.to_thread
import httpx
from httpx_sse import EventSource

from longleaf import operations, streams, types, uploads
from longleaf.errors import LongleafError
from longleaf.place import place
from longleaf.retries import Retries, failure, unreachable
from longleaf.steps import Call, Pause, Piece, Steps

Result = TypeVar("Result")


class AsyncClient:
    """Longleaf over HTTP, in asyncio or trio.

    `base_url` and `api_key` are by default those of the environment, LONGLEAF_URL (else
    http://127.0.0.1:8000) and LONGLEAF_API_KEY. `timeout` is in seconds without a byte. Every method raises
    ApiError for what the service refuses and Unreachable where no answer comes, both after `retries`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 300.0,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        url, headers = place(base_url, api_key)
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout, transport=transport)
        self._retries = retries or Retries()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def upload(
        self,
        file: uploads.File,
        *,
        filename: str | None = None,
        collection: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_duplicate: uploads.OnDuplicate = "refuse",
        on_progress: uploads.Sent | None = None,
    ) -> types.Document:
        """Send a file of any size, which becomes a document that is read soon; `wait` waits for that.

        Bytes that the collection holds already raise ApiError (`duplicate_document`), unless `on_duplicate`
        is `reuse`, which gives the document that is there.
        """
        return await self._upload(file, filename, (collection, metadata, on_duplicate, None), on_progress)

    async def replace(
        self,
        document_id: str,
        file: uploads.File,
        *,
        filename: str | None = None,
        on_progress: uploads.Sent | None = None,
    ) -> types.Document:
        """Send another file as a document's next version; the present one answers until that is ready."""
        return await self._upload(file, filename, (None, None, "refuse", document_id), on_progress)

    async def document(self, document_id: str) -> types.Document:
        """A document, and how far its ingest is."""
        return await self._done(operations.reading(types.Document, f"/documents/{document_id}"))

    async def documents(
        self, *, collection: str | None = None, status: types.Status | None = None
    ) -> AsyncIterator[types.Document]:
        """All documents, newest first."""
        cursor: str | None = None
        while True:
            page = await self.document_page(collection=collection, status=status, cursor=cursor)
            for document in page.documents:
                yield document
            cursor = page.next_cursor
            if cursor is None:
                return

    async def document_page(
        self,
        *,
        collection: str | None = None,
        status: types.Status | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> types.DocumentPage:
        """Some documents, and the cursor of those after them."""
        asked = {"collection": collection, "status": status, "limit": limit, "cursor": cursor}
        return await self._done(operations.reading(types.DocumentPage, "/documents", **asked))

    async def wait(
        self, document_id: str, *, on_change: Callable[[types.Document], None] | None = None
    ) -> types.Document:
        """The document once it is read. Raises NotReady where it failed or was cancelled."""
        return await self._done(operations.wait(document_id, on_change))

    async def change_metadata(self, document_id: str, metadata: Mapping[str, Any]) -> types.Document:
        """Merge into a document's metadata (RFC 7396): None removes a member."""
        body = {"metadata": dict(metadata)}
        return await self._done(
            operations.sending(types.Document, "PATCH", f"/documents/{document_id}", body)
        )

    async def versions(self, document_id: str) -> list[types.Version]:
        """What a document was sent as, newest first."""
        path = f"/documents/{document_id}/versions"
        return (await self._done(operations.reading(types.Versions, path))).versions

    async def chunks(
        self, document_id: str, *, limit: int | None = None, cursor: int | None = None
    ) -> types.ChunkPage:
        """Some chunks in the order of the text, and the cursor of those after them."""
        path = f"/documents/{document_id}/chunks"
        return await self._done(operations.reading(types.ChunkPage, path, limit=limit, cursor=cursor))

    async def text(self, document_id: str, start: int = 0, end: int | None = None) -> str:
        """A document's canonical text, or the part between two offsets in code points."""
        return await self._done(operations.text(document_id, start, end))

    async def content(self, document_id: str) -> bytes:
        """A document's original bytes."""
        return await self._done(operations.content(document_id))

    async def page_picture(self, document_id: str, number: int, *, width: int = 1200) -> bytes:
        """A page of a PDF or of a picture as it looks, in WebP, at most `width` pixels wide."""
        return await self._done(operations.page_picture(document_id, number, width))

    async def page_boxes(self, document_id: str, number: int, start: int, end: int) -> types.PageBoxes:
        """Where the passage between two offsets in code points stands on that picture."""
        path = f"/documents/{document_id}/pages/{number}/boxes"
        return await self._done(operations.reading(types.PageBoxes, path, start=start, end=end))

    async def delete(self, document_id: str) -> None:
        """Delete a document. When this returns nothing of it can be found."""
        await self._done(operations.deleting(f"/documents/{document_id}"))

    async def search(
        self,
        query: str,
        *,
        collection: str | None = None,
        document_ids: Sequence[str] | None = None,
        filters: Mapping[str, Any] | None = None,
        top_k: int = 10,
    ) -> types.SearchResults:
        """Chunks that fit a query, best first."""
        return await self._done(
            operations.search(query, top_k, operations.where(collection, document_ids, filters))
        )

    async def ask(self, question: str, **options: Unpack[operations.Options]) -> types.Answer:
        """Answer a question from the documents, with quotes that were checked.

        `options` are members of the body of `POST /query`.
        """
        body = operations.question(question, options)
        return await self._done(operations.sending(types.Answer, "POST", "/query", body))

    @asynccontextmanager
    async def ask_stream(
        self, question: str, **options: Unpack[operations.Options]
    ) -> AsyncGenerator[AsyncIterator[types.Event]]:
        """The events of an answer while it is made, the `Answer` last; leaving the block stops the work."""
        body = operations.question(question, options)
        async with self._http.stream("POST", "/query", json=body, headers=streams.HEADERS) as response:
            if not response.is_success:
                await response.aread()
                raise failure(response)
            yield self._events(response)

    async def answer(self, answer_id: str) -> types.StoredAnswer:
        """An answer that was given before."""
        return await self._done(operations.reading(types.StoredAnswer, f"/answers/{answer_id}"))

    async def give_feedback(
        self,
        answer_id: str,
        *,
        correct: bool,
        comment: str | None = None,
        wrong_citations: Sequence[int] = (),
    ) -> types.GivenFeedback:
        """Say whether an answer was right; what one said of it before is replaced."""
        body = {"correct": correct, "comment": comment, "wrong_citations": list(wrong_citations)}
        path = f"/answers/{answer_id}/feedback"
        return await self._done(operations.sending(types.GivenFeedback, "POST", path, body))

    async def withdraw_feedback(self, answer_id: str) -> None:
        """Take back what one said of an answer."""
        await self._done(operations.deleting(f"/answers/{answer_id}/feedback"))

    async def feedback(
        self, *, collection: str | None = None, correct: bool | None = None
    ) -> AsyncIterator[types.GivenFeedback]:
        """All that people said of answers from the collections that one may change, newest first."""
        cursor: str | None = None
        while True:
            page = await self.feedback_page(collection=collection, correct=correct, cursor=cursor)
            for given in page.feedback:
                yield given
            cursor = page.next_cursor
            if cursor is None:
                return

    async def feedback_page(
        self,
        *,
        collection: str | None = None,
        correct: bool | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> types.FeedbackPage:
        """Some of it, and the cursor of what comes after."""
        asked = {"collection": collection, "correct": correct, "limit": limit, "cursor": cursor}
        return await self._done(operations.reading(types.FeedbackPage, "/feedback", **asked))

    async def collections(self) -> list[types.Collection]:
        """All collections, by name."""
        return (await self._done(operations.reading(types.Collections, "/collections"))).collections

    async def create_collection(self, name: str) -> types.Collection:
        """Make an empty collection; an upload makes the one that it names by itself."""
        made = operations.sending(types.Collection, "POST", "/collections", {"name": name}, repeatable=False)
        return await self._done(made)

    async def delete_collection(self, name: str) -> None:
        """Delete a collection with all its documents."""
        await self._done(operations.deleting(f"/collections/{operations.segment(name)}"))

    async def _upload(
        self,
        file: uploads.File,
        filename: str | None,
        said: tuple[str | None, Mapping[str, Any] | None, uploads.OnDuplicate, str | None],
        on_progress: uploads.Sent | None,
    ) -> types.Document:
        source, name = uploads.opened(file, filename)
        try:
            about = uploads.described(name, *said)
            return await self._done(uploads.upload(uploads.length(source), about, on_progress), source)
        finally:
            if source is not file:
                source.close()

    async def _done(self, steps: Steps[Result], source: BinaryIO | None = None) -> Result:
        """Carry an operation out."""
        outcome: Any = None
        error: LongleafError | None = None
        while True:
            try:
                step = steps.send(outcome) if error is None else steps.throw(error)
            except StopIteration as ended:
                result: Result = ended.value
                return result
            outcome, error = None, None
            match step:
                case Pause(seconds):
                    await anyio.sleep(seconds)
                case Piece() if source is not None:
                    outcome = await anyio.to_thread.run_sync(uploads.piece, source, step)
                case Call():
                    try:
                        outcome = await self._response(step)
                    except LongleafError as raised:
                        error = raised

    async def _response(self, call: Call) -> httpx.Response:
        """The successful response to a call. Raises ApiError, Unreachable."""
        attempt = 0
        while True:
            attempt += 1
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = await self._http.request(
                    call.method,
                    call.path,
                    params=call.params,
                    json=call.json,
                    content=call.content,
                    headers=call.headers,
                )
                if outcome.is_success:
                    return outcome
            except httpx.TransportError as broken:
                outcome = broken
            pause = self._retries.pause(call, attempt, outcome)
            if pause is not None:
                await anyio.sleep(pause)
            elif isinstance(outcome, httpx.Response):
                raise failure(outcome)
            else:
                raise unreachable(self._http.base_url, outcome) from outcome

    async def _events(self, response: httpx.Response) -> AsyncIterator[types.Event]:
        try:
            async for sent in EventSource(response).aiter_sse():
                event = streams.event(sent.event, sent.data)
                if event is not None:
                    yield event
        except httpx.TransportError as broken:
            raise unreachable(self._http.base_url, broken) from broken
