"""What users do meanwhile: every request's answer, heard or not, goes into the record."""

from __future__ import annotations

import base64
import random
import socket
import struct
from contextlib import suppress

import httpx

from tests.faults.house import House
from tests.faults.record import Kept, Record, Sent

MOST = 5
"""Documents that are kept at a time, so that checking all of them after every fault stays cheap."""


TROUBLE = (503, 507)
"""Answers that the machine is to blame for: store or disk are not there, the disk is full."""


_TUS = {"Tus-Resumable": "1.0.0"}


class Traffic:
    """Uploads, updates, deletes, cancels, retries and searches against any server of the house."""

    def __init__(self, house: House, record: Record, rng: random.Random) -> None:
        self._house = house
        self._record = record
        self._rng = rng

    def some(self, count: int = 3) -> None:
        """So many requests, chosen by chance; makes room when there are many documents."""
        for _ in range(count):
            known = [kept for kept in self._record.kept.values() if not kept.perhaps_deleted]
            if len(known) >= MOST:
                self.delete()
                continue
            action = self._rng.choices(
                (
                    self.upload,
                    self.resumable,
                    self.resume,
                    self.replace,
                    self.delete,
                    self.cancel,
                    self.search,
                ),
                (6, 2, 2, 3, 2, 1, 1),
            )[0]
            action()

    def upload(self) -> None:
        """Send one new document."""
        sent = self._record.write()
        try:
            answer = self._client().post("/documents", files={"file": (sent.filename, sent.content)})
        except httpx.HTTPError:
            self._record.unheard.append(sent)
            return
        if answer.status_code == 202:
            entry = answer.json()["documents"][0]
            self._record.kept[entry["id"]] = Kept(entry["id"], [sent])
        else:
            self._expect(answer, *TROUBLE)
            # an error is a refusal or a doubt (the database went away in mid-commit): either may be true
            self._record.unheard.append(sent)

    def resumable(self) -> None:
        """Begin an upload in parts (tus) and send some of it, or all."""
        sent = self._record.write()
        name = base64.b64encode(sent.filename.encode()).decode()
        length = {"Upload-Length": str(len(sent.content)), "Upload-Metadata": f"filename {name}"}
        with suppress(httpx.HTTPError):
            answer = self._client().post("/uploads", headers={**_TUS, **length})
            self._expect(answer, 201, *TROUBLE)
            if answer.status_code == 201:
                path = httpx.URL(answer.headers["Location"]).path
                self._record.partial[path] = sent
                part = self._rng.choice([len(sent.content), len(sent.content) // 2])
                self._send(path, sent, 0, part)

    def resume(self) -> None:
        """Go on with an upload that was not finished, from where the server says."""
        if not self._record.partial:
            return
        path, sent = self._rng.choice(list(self._record.partial.items()))
        # Asking may be what makes a document of it; only the answer tells.
        self._record.unheard.append(sent)
        with suppress(httpx.HTTPError):
            answer = self._client().head(path, headers=_TUS)
            self._expect(answer, 200, 423, *TROUBLE)
            if answer.status_code == 200 and not self._ended(path, sent, answer):
                self._send(path, sent, int(answer.headers["Upload-Offset"]), len(sent.content))

    def _send(self, path: str, sent: Sent, start: int, end: int) -> None:
        if end == len(sent.content):
            self._record.unheard.append(sent)
        headers = {**_TUS, "Upload-Offset": str(start), "Content-Type": "application/offset+octet-stream"}
        answer = self._client().patch(path, headers=headers, content=sent.content[start:end])
        self._expect(answer, 204, 409, 423, *TROUBLE)
        self._ended(path, sent, answer)

    def _ended(self, path: str, sent: Sent, answer: httpx.Response) -> bool:
        document_id = answer.headers.get("Longleaf-Document")
        if document_id is None:
            return False
        self._record.hold(document_id, sent)
        self._record.partial.pop(path, None)
        return True

    def replace(self) -> None:
        """Send a new file for a document."""
        kept = self._any()
        if kept is None:
            return
        sent = self._record.write()
        try:
            answer = self._client().put(
                f"/documents/{kept.id}", files={"file": (sent.filename, sent.content)}
            )
        except httpx.HTTPError:
            self._add(kept, sent, heard=False)
            return
        if answer.status_code == 202:
            self._add(kept, sent, heard=True)
        else:
            self._expect(answer, *TROUBLE, 404 if kept.perhaps_deleted else 503)
            self._add(kept, sent, heard=False)

    def _add(self, kept: Kept, sent: Sent, *, heard: bool) -> None:
        kept.cancelled = False
        if heard:
            kept.versions, kept.unsure = [sent], False
        else:
            kept.versions.append(sent)
            kept.unsure = True

    def delete(self) -> None:
        """Delete a document."""
        kept = self._any()
        if kept is None:
            return
        try:
            answer = self._client().delete(f"/documents/{kept.id}")
        except httpx.HTTPError:
            kept.perhaps_deleted = True
            return
        if answer.status_code in {204, 404}:
            assert answer.status_code == 204 or kept.perhaps_deleted, f"{kept.id} was lost: {answer.text}"
            self._record.drop(kept.id)
        else:
            self._expect(answer, *TROUBLE)
            kept.perhaps_deleted = True

    def cancel(self) -> None:
        """Cancel a document's ingest, which may be over; the check retries it."""
        kept = self._any()
        if kept is None:
            return
        with suppress(httpx.HTTPError):
            answer = self._client().post(f"/documents/{kept.id}/cancel")
            self._expect(answer, 202, 409, *TROUBLE, 404 if kept.perhaps_deleted else 202)
        kept.cancelled = True

    def retry(self) -> None:
        """Retry a document, cancelled or not."""
        kept = self._any()
        if kept is not None:
            with suppress(httpx.HTTPError):
                answer = self._client().post(f"/documents/{kept.id}/retry")
                self._expect(answer, 202, 409, *TROUBLE, 404 if kept.perhaps_deleted else 202)

    def search(self) -> None:
        """Search for something; what a search in trouble answers is checked like any other."""
        kept = self._any()
        if kept is None:
            return
        with suppress(httpx.HTTPError):
            answer = self._client().post("/search", json={"query": kept.versions[-1].token, "top_k": 5})
            self._expect(answer, 200, 404, *TROUBLE)
            if answer.status_code == 200:
                for result in answer.json()["results"]:
                    assert result["document_id"] not in self._record.deleted, (
                        f"a search found {result['document_id']}, which is deleted"
                    )

    def cut(self) -> None:
        """Begin an upload and break the connection off in the middle of it."""
        sent = self._record.write()
        client = self._client()
        boundary = "cutcutcut"
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{sent.filename}"\r\n'
            "Content-Type: text/plain\r\n\r\n"
        ).encode()
        body = head + sent.content + f"\r\n--{boundary}--\r\n".encode()
        request = (
            f"POST /documents HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
            f"Content-Type: multipart/form-data; boundary={boundary}\r\n\r\n"
        ).encode()
        whole = self._rng.random() < 0.3
        part = body if whole else body[: self._rng.randrange(len(body))]
        if whole:  # all was sent, but nobody waits for the answer
            self._record.unheard.append(sent)
        with suppress(OSError), socket.create_connection(("127.0.0.1", client.base_url.port), 5) as stream:
            stream.sendall(request + part)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def watch_and_leave(self) -> None:
        """Open a document's events and leave."""
        kept = self._any()
        if kept is not None:
            with suppress(httpx.HTTPError), self._client().stream("GET", f"/documents/{kept.id}/events") as s:
                for _ in s.iter_lines():
                    break

    def _client(self) -> httpx.Client:
        return self._rng.choice(list(self._house.clients.values()))

    def _any(self) -> Kept | None:
        kept = [each for each in self._record.kept.values() if not each.perhaps_deleted]
        return self._rng.choice(kept) if kept else None

    def _expect(self, answer: httpx.Response, *allowed: int) -> None:
        assert answer.status_code in allowed, (
            f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}: {answer.text}"
        )
