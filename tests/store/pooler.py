"""A pooler in transaction mode, as PgBouncer is one: clients share few sessions, each for one transaction."""

from __future__ import annotations

import queue
import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PORT = 6432


def _exactly(wire: socket.socket, count: int) -> bytes:
    held = b""
    while len(held) < count:
        piece = wire.recv(count - len(held))
        if not piece:
            raise ConnectionError
        held += piece
    return held


def _message(wire: socket.socket) -> tuple[bytes, bytes]:
    """Its kind, and all of it."""
    head = _exactly(wire, 5)
    return head[:1], head + _exactly(wire, struct.unpack("!I", head[1:])[0] - 4)


class Pooler:
    """Speaks PostgreSQL's protocol, version 3, without passwords."""

    def __init__(self, folder: Path, server: Path, database: str, sessions: int) -> None:
        """Listen in `folder`; `server` is the real server's socket."""
        self._server, self._database = server, database
        self._idle: queue.Queue[socket.socket] = queue.Queue()
        self._told = b""
        self._folder = folder
        self.transactions = 0
        for _ in range(sessions):
            self._idle.put(self._session())
        self._sessions = list(self._idle.queue)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / f".s.PGSQL.{PORT}"))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/{self._database}?host={self._folder}&port={PORT}"

    def close(self) -> None:
        self._listener.close()
        for session in self._sessions:
            session.close()

    def _session(self) -> socket.socket:
        wire = socket.socket(socket.AF_UNIX)
        wire.connect(str(self._server))
        words = b"".join(each.encode() + b"\0" for each in ("user", "postgres", "database", self._database))
        body = struct.pack("!I", 196608) + words + b"\0"
        wire.sendall(struct.pack("!I", len(body) + 4) + body)
        told = b""
        while True:
            kind, message = _message(wire)
            assert kind != b"E", message
            told += message if kind in {b"R", b"S"} else b""
            if kind == b"Z":
                self._told = told
                return wire

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            _exactly(client, struct.unpack("!I", _exactly(client, 4))[0] - 4)
            key = b"K" + struct.pack("!III", 12, 0, 0)
            client.sendall(self._told + key + b"Z" + struct.pack("!I", 5) + b"I")
            while True:
                kind, message = _message(client)
                if kind == b"X":
                    return
                session = self._idle.get()  # the one that lay idle longest, so hardly ever the same one
                try:
                    self._transaction(client, session, kind, message)
                finally:
                    self._idle.put(session)
        except (ConnectionError, OSError):
            return
        finally:
            client.close()

    def _transaction(
        self, client: socket.socket, session: socket.socket, kind: bytes, message: bytes
    ) -> None:
        waited = int(kind in {b"Q", b"S"})
        session.sendall(message)
        with selectors.DefaultSelector() as both:
            both.register(client, selectors.EVENT_READ)
            both.register(session, selectors.EVENT_READ)
            while True:
                for ready, _ in both.select():
                    if ready.fileobj is client:
                        kind, message = _message(client)
                        waited += kind in {b"Q", b"S"}
                        session.sendall(message)
                        continue
                    kind, message = _message(session)
                    client.sendall(message)
                    if kind == b"Z":
                        waited -= 1
                        if waited == 0 and message[5:] == b"I":
                            self.transactions += 1
                            return


@contextmanager
def pooling(folder: Path, server: Path, database: str, sessions: int = 2) -> Iterator[Pooler]:
    """A running pooler."""
    pooler = Pooler(folder, server, database, sessions)
    try:
        yield pooler
    finally:
        pooler.close()
