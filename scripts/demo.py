"""Upload the documents of demo/documents and ask three questions: `make demo`.

Uses the service that already runs at LONGLEAF_HOST:LONGLEAF_PORT; where none does, starts one on a free port
with a data folder of its own, which is removed at the end.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service_client import CallFailed, Service

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ROOT / "demo" / "documents"
COLLECTION = "demo"
QUESTIONS = (
    "How many pounds a week did the Red-Headed League pay?",
    "How many characters must a memorized secret have if the subscriber chooses it?",
    "What is the weekly cut-off time for BMFOLB requests?",
)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def own_service() -> Iterator[Service]:
    """Start a service in an empty data folder; stop it and remove the folder at the end."""
    with tempfile.TemporaryDirectory(prefix="longleaf-demo-") as folder:
        port = free_port()
        log = Path(folder) / "server.log"
        settings = {
            "LONGLEAF_HOST": "127.0.0.1",
            "LONGLEAF_PORT": str(port),
            "LONGLEAF_DATA_DIR": str(Path(folder) / "data"),
            "LONGLEAF_DATABASE_URL": "",
        }
        command = [str(Path(sys.executable).parent / "longleaf"), "serve"]
        print(f"No service is running: starting one at http://127.0.0.1:{port}.", flush=True)
        with log.open("wb") as sink:
            process = subprocess.Popen(
                command, env=os.environ | settings, cwd=folder, stdout=sink, stderr=subprocess.STDOUT
            )
        try:
            service = Service(f"http://127.0.0.1:{port}")
            service.wait_until_up(
                180, lambda: None if process.poll() is None else f"serve ended:\n{log.read_text()}"
            )
            yield service
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def show_progress(document: dict[str, Any]) -> None:
    """Write one document's state over the last line of a terminal; a pipe gets nothing."""
    if sys.stdout.isatty():
        counters = f"{document['chunks_done']}/{document['chunks_total'] or '?'} chunks"
        print(f"\r\033[K  {document['filename']}: {document['status']} {counters}", end="", flush=True)


def show_answer(question: str, answer: dict[str, Any], seconds: float) -> None:
    """Print a question, its answer and the quotes with document and page."""
    print(f"\nQ: {question}")
    text = answer["answer"] or f"({answer['answer_status']}: the quotes stand for themselves)"
    print(textwrap.fill(text, 100, initial_indent="A: ", subsequent_indent="   "))
    for citation in answer["citations"]:
        page = f", page {citation['page_number']}" if citation["page_number"] is not None else ""
        print(f"   [{citation['id']}] {citation['document_title']}{page}")
        quote = " ".join(citation["cited_text"].split())
        print(textwrap.fill(f'"{quote}"', 100, initial_indent="       ", subsequent_indent="       "))
    usage = answer["usage"]
    print(f"   {answer['answer_status']}; {usage['prompt_tokens']} tokens read; {seconds:.1f} s")


def demonstrate(service: Service) -> None:
    """Upload, wait, ask."""
    files = sorted(path for path in DOCUMENTS.iterdir() if path.name != "README.md")
    print(f"Uploading {', '.join(path.name for path in files)} to {service.base}.", flush=True)
    started = time.monotonic()
    service.wait_until_ready(service.upload(files, COLLECTION), watch=show_progress)
    if sys.stdout.isatty():
        print("\r\033[K", end="")
    print(f"Ready for questions after {time.monotonic() - started:.1f} s.", flush=True)
    for question in QUESTIONS:
        started = time.monotonic()
        show_answer(question, service.ask(question, COLLECTION), time.monotonic() - started)


def main() -> None:
    """Read the options and run against the service found or started."""
    host, port = os.environ.get("LONGLEAF_HOST", "127.0.0.1"), os.environ.get("LONGLEAF_PORT", "8000")
    parser = argparse.ArgumentParser(description="Upload the documents in demo/ and ask three questions.")
    parser.add_argument("--url", default="", help="address of a running service; none: find or start one")
    url = parser.parse_args().url
    running = Service(url or f"http://{host}:{port}")
    try:
        if url or running.is_up():
            demonstrate(running)
        else:
            with own_service() as service:
                demonstrate(service)
    except CallFailed as error:
        sys.exit(f"demo: {error}")


if __name__ == "__main__":
    main()
