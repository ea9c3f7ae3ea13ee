"""Sends what is due, from the database, so that a restart loses nothing; several processes share the work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx

from api.version import version
from api.webhooks.addresses import Refused, resolve
from api.webhooks.signing import headers
from ingest.leases import now
from rag.errors import LongleafError
from rag.settings import Settings
from rag.store.hooked import Due
from rag.store.repositories.outbox import Outbox
from rag.store.session import Database

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
AT_A_TIME = 8
"""Addresses that one process sends to at a time."""
TIMEOUT_SECONDS = 15.0
"""How long an attempt may take in all."""
TIDY_SECONDS = 3600.0
_STOP_SECONDS = 0.1
_GONE = 410
_ANSWERED_BADLY = "status"


@dataclass(frozen=True, slots=True)
class _Result:
    answered: int | None
    error: str | None

    @property
    def ok(self) -> bool:
        return self.error is None


class Sender:
    """Sends messages of one store until it is told to stop."""

    def __init__(
        self, db: Database, settings: Settings, *, sent: Callable[[str], None] | None = None
    ) -> None:
        """
        Args:
            sent: is told of every attempt: `delivered`, or why not, which is one of few words.
        """
        self._db, self._sent = db, sent
        self._private = settings.webhook_private_addresses
        self._tidied = time.monotonic()
        self._stopping = threading.Event()

    def run(self, stopping: threading.Event) -> None:
        """Send what is due again and again; trouble with the store is waited out."""
        self._stopping = stopping
        while not stopping.wait(POLL_SECONDS):
            try:
                while not stopping.is_set() and self.send_due():
                    pass
                if time.monotonic() - self._tidied > TIDY_SECONDS:
                    self._tidied = time.monotonic()
                    with self._db.session() as session:
                        Outbox(session).forget_old(now(session))
            except LongleafError as error:
                log.debug("webhooks have to wait: %s", error)
            except Exception:
                log.exception("webhooks were not sent; the next look tries again")

    def send_due(self) -> int:
        """Send one message to each address that has one due; returns how many got through or failed.

        Raises Unavailable.
        """
        with self._db.read() as session:  # who has nothing to do must not hold up writers every second
            if not Outbox(session).is_due(now(session)):
                return 0
        with self._db.session() as session:
            found = Outbox(session).take(now(session), AT_A_TIME)
        results = anyio.run(self._send_all, found) if found else {}
        for due in found:
            self._note(due, results.get(due.id))
        return len(found)

    async def _send_all(self, found: list[Due]) -> dict[str, _Result]:
        results: dict[str, _Result] = {}

        async def one(due: Due) -> None:
            results[due.id] = await self._send(due)

        async def stop_soon() -> None:
            while not self._stopping.is_set():
                await anyio.sleep(_STOP_SECONDS)
            sending.cancel_scope.cancel()

        async with anyio.create_task_group() as watching:
            async with anyio.create_task_group() as sending:
                watching.start_soon(stop_soon)
                for due in found:
                    sending.start_soon(one, due)
            watching.cancel_scope.cancel()
        return results

    async def _send(self, due: Due) -> _Result:
        try:
            with anyio.fail_after(TIMEOUT_SECONDS):
                return await self._attempt(due)
        except (TimeoutError, httpx.TimeoutException):
            return _Result(None, "timeout")
        except Refused as refused:
            return _Result(None, refused.reason)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            text = str(error).lower()
            return _Result(None, "tls" if "certificate" in text or "ssl" in text else "connection")
        except Exception:
            log.exception("message %s was not sent", due.id)
            return _Result(None, "internal")

    async def _attempt(self, due: Due) -> _Result:
        url = urlsplit(due.url)
        host = url.hostname or ""
        port = url.port or (443 if url.scheme == "https" else 80)
        # asked once, and connected to that very answer: a name can stand for another address a moment later
        addresses = await anyio.to_thread.run_sync(
            lambda: resolve(host, port, private=self._private), abandon_on_cancel=True
        )
        body = due.body.encode()
        fields = {
            "Host": url.netloc,
            "Content-Type": "application/json",
            "User-Agent": f"Longleaf/{version()}",
            **headers(due.id, int(time.time()), body, due.secrets),
        }
        for number, address in enumerate(addresses, 1):
            shown = f"[{address}]" if ":" in address else address
            target = url._replace(netloc=f"{shown}:{port}").geturl()
            try:
                return await _post(target, host, fields, body)
            except httpx.ConnectError:
                if number == len(addresses):
                    raise
        raise Refused("unresolved")

    def _note(self, due: Due, result: _Result | None) -> None:
        log.info(
            "message %s: %s", due.id, "given back" if result is None else result.error or result.answered
        )
        if result is not None and self._sent is not None:
            self._sent(result.error or "delivered")
        with self._db.session() as session:
            at = now(session)
            if result is None:
                Outbox(session).release(due, at)
            elif result.ok:
                Outbox(session).delivered(due, at, result.answered or 0)
            else:
                Outbox(session).failed(
                    due, at, answered=result.answered, error=result.error, gone=result.answered == _GONE
                )


async def _post(target: str, host: str, fields: dict[str, str], body: bytes) -> _Result:
    """Send to an address of which the host is known to be `host`. The answer's body is not read."""
    # A transport of its own: no proxy of the environment comes between, which would look the name up again.
    # Of the environment only the authorities are taken that a company has of its own (SSL_CERT_FILE).
    transport = httpx.AsyncHTTPTransport(trust_env=True)
    async with (
        httpx.AsyncClient(transport=transport, timeout=TIMEOUT_SECONDS, follow_redirects=False) as client,
        client.stream(
            "POST", target, headers=fields, content=body, extensions={"sni_hostname": host}
        ) as response,
    ):
        status = response.status_code
    return _Result(status, None if 200 <= status < 300 else _ANSWERED_BADLY)
