"""A model hub on the loopback, with the endpoints that `huggingface_hub` calls, and with faults on demand."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HUB_ID = "owner/tiny"
LARGE = (".safetensors", ".pth", ".gguf", ".bin")
"""Kept as LFS objects on the hub: answered by a redirect to another host, named by SHA-256."""


class Hub:
    """One repository with one commit on `main`.

    Attributes:
        files: content by name; a test may change what is served without changing what is listed.
        requests: method, path and range of all that was asked.
        tokens: which credentials came to each host.
        gated, cut, broken: refuse files; close the first answer for a file after so many bytes; answer 500.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = dict(files)
        self.listed = {name: _entry(name, content) for name, content in files.items()}
        self.commit = hashlib.sha1(json.dumps(self.listed).encode(), usedforsecurity=False).hexdigest()
        self.requests: list[tuple[str, str, str | None]] = []
        self.tokens: set[tuple[str, str | None]] = set()
        self.gated = 0
        self.cut: dict[str, int] = {}
        self.broken: set[str] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fetched(self) -> list[str]:
        """Names of the files that were asked for with GET, in order."""
        return [
            path.rpartition("/")[2]
            for method, path, _ in self.requests
            if method == "GET" and "/api/" not in path
        ]


def _entry(name: str, content: bytes) -> dict[str, object]:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob}
    if name.endswith(LARGE):
        sha256 = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
    return entry


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Answer for `hub` until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            hub.requests.append((self.command, path, self.headers.get("Range")))
            hub.tokens.add((self.headers["Host"].partition(":")[0], self.headers.get("Authorization")))
            if found := re.fullmatch(rf"/api/models/{HUB_ID}/revision/(.+)", path):
                self.info(found[1])
            elif found := re.fullmatch(rf"/{HUB_ID}/resolve/{hub.commit}/(.+)", path):
                self.file(found[1])
            elif found := re.fullmatch(r"/cdn/(.+)", path):
                self.content(found[1])
            else:
                self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})

        def info(self, revision: str) -> None:
            if revision not in {"main", hub.commit}:
                return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
            body = {"id": HUB_ID, "sha": hub.commit, "siblings": list(hub.listed.values())}
            return self.answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

        def file(self, name: str) -> None:
            if hub.gated:
                return self.answer(hub.gated, b"", {"X-Error-Code": "GatedRepo"})
            entry, headers = hub.listed[name], {"X-Repo-Commit": hub.commit}
            lfs = entry.get("lfs")
            if isinstance(lfs, dict):
                headers |= {"X-Linked-Etag": f'"{lfs["sha256"]}"', "X-Linked-Size": str(entry["size"])}
                headers["Location"] = f"http://localhost:{hub.port}/cdn/{name}"
                return self.answer(302, b"", headers)
            return self.content(name, {**headers, "ETag": f'"{entry["blobId"]}"'})

        def content(self, name: str, headers: dict[str, str] | None = None) -> None:
            if name in hub.broken:
                return self.answer(500, b"")
            whole, status = hub.files[name], 200
            headers = {**(headers or {}), "Accept-Ranges": "bytes"}
            first = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            if first:
                status, headers["Content-Range"] = 206, f"bytes {first[1]}-{len(whole) - 1}/{len(whole)}"
            return self.answer(
                status, whole[int(first[1]) if first else 0 :], headers, hub.cut.pop(name, None)
            )

        def answer(
            self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: int | None = None
        ) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[:cut])
            if cut is not None:
                self.close_connection = True
                self.wfile.flush()
                self.connection.close()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
