"""Try docker-compose.yml for real: build, start, upload, ask, restart, ask again, remove everything.

Uses a free port and a project name of its own, so that it disturbs no stack that is running. Needs a Docker
engine and `docker compose` or docker-compose 1.29.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Any

from demo import DOCUMENTS, QUESTIONS, ROOT, free_port
from service_client import CallFailed, Service

COLLECTION = "try-compose"


class Stack:
    """One compose project: the commands on it and the settings that make it its own."""

    def __init__(self) -> None:
        self.port = free_port()
        project = self.image = f"longleaf-try-{os.getpid()}"
        self.command = [*compose_command(), "-p", project, "-f", str(ROOT / "docker-compose.yml")]
        self.environment = os.environ | {
            "LONGLEAF_HOST": "127.0.0.1",
            "COMPOSE_PROFILES": "",
            "LONGLEAF_PORT": str(self.port),
            "LONGLEAF_IMAGE": self.image,
            # Not the default, and with characters that a URL would have to escape.
            "POSTGRES_PASSWORD": f"try:{os.getpid()}@/#?",
        }

    def run(self, *arguments: str, quiet: bool = True) -> str:
        """Run a compose command; raises `CallFailed` with what it printed."""
        result = subprocess.run(
            [*self.command, *arguments],
            env=self.environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.STDOUT if quiet else None,
            text=True,
            check=False,
        )
        if result.returncode:
            raise CallFailed(f"{' '.join(arguments)} ended with {result.returncode}\n{result.stdout or ''}")
        return result.stdout or ""

    def remove(self, *, keep_image: bool = False) -> None:
        """Remove containers, volumes, networks and the image."""
        self.run("down", "-v", "--remove-orphans")
        if not keep_image:  # its own name: another image that was tried stays
            subprocess.run(["docker", "image", "rm", self.image], capture_output=True, check=False)


def compose_command() -> list[str]:
    """`docker compose`, or docker-compose where the plugin is missing; raises `CallFailed` without both."""
    for command in (["docker", "compose"], ["docker-compose"]):
        try:
            subprocess.run([*command, "version"], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return command
    raise CallFailed("neither `docker compose` nor docker-compose is installed")


def ask_all(service: Service) -> list[list[str]]:
    """Ask the demo's questions; returns each one's quotes. Raises `CallFailed` where a quote is not found."""
    quotes = []
    for question in QUESTIONS:
        answer = service.ask(question, COLLECTION)
        if not answer["citations"]:
            raise CallFailed(f"no quote for {question!r}: {answer['answer_status']}")
        for citation in answer["citations"]:
            check_quote(service, citation)
        quotes.append([citation["cited_text"] for citation in answer["citations"]])
        print(f"  {question}\n    -> {' '.join(quotes[-1][0].split())}", flush=True)
    return quotes


def check_quote(service: Service, citation: dict[str, Any]) -> None:
    """Compare a quote with the stored text at its offsets; raises `CallFailed` where they differ."""
    start, end = citation["start_char_index"], citation["end_char_index"]
    text = service.text(citation["document_id"])
    if text[start:end] != citation["cited_text"]:
        raise CallFailed(f"the quote is not the stored text at {start}:{end}: {citation['cited_text']!r}")


def first_key(stack: Stack, service: Service) -> str:
    """The key that the first start left for its keeper; raises `CallFailed` where nobody needs it."""
    try:
        service.call("GET", "/documents")
    except CallFailed as error:
        if ": 401 " not in str(error):
            raise
    else:
        raise CallFailed("the documents are shown to who has no key")
    mode, key = stack.run(
        "exec", "-T", "service", "sh", "-c", "stat -c %a /data/first-admin-key; cat /data/first-admin-key"
    ).split()
    if mode != "600":
        raise CallFailed(f"others can read the first key: its file has mode {mode}")
    return key


def say(text: str) -> None:
    """Print a line with the time, at once."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def attempt(stack: Stack) -> None:
    """The whole try; raises `CallFailed` at the first thing that does not hold."""
    say("build")
    stack.run("build", "service", quiet=False)
    say(f"start on port {stack.port}")
    stack.run("up", "-d")
    service = Service(f"http://127.0.0.1:{stack.port}")
    service.wait_until_up(240)
    service.key = first_key(stack, service)
    say("ready, and closed to who has no key; upload")
    files = sorted(path for path in DOCUMENTS.iterdir() if path.name != "README.md")
    ids = service.upload(files, COLLECTION)
    service.wait_until_ready(ids)
    say(f"{len(ids)} documents ready; ask")
    before = ask_all(service)
    if (user := stack.run("exec", "-T", "service", "id", "-u").strip()) == "0":
        raise CallFailed("the service runs as root")
    say(f"the service runs as user {user}; remove the containers, keep the volumes, start again")
    stack.run("down")
    stack.run("up", "-d")
    service.wait_until_up(240)
    if [service.document(document_id)["status"] for document_id in ids] != ["ready"] * len(ids):
        raise CallFailed("a document was lost by the restart")
    say("ask again")
    if ask_all(service) != before:
        raise CallFailed("the quotes differ after the restart")
    service.call("DELETE", f"/documents/{ids[0]}")
    say("the same quotes; deleted a document")


def main() -> None:
    """Run the try and clean up, also after a failure or a signal."""
    parser = argparse.ArgumentParser(description="Try docker-compose.yml for real.")
    parser.add_argument("--keep-image", action="store_true", help="leave the built image for the next try")
    keep_image: bool = parser.parse_args().keep_image

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    started = time.monotonic()
    try:
        stack = Stack()
    except CallFailed as error:
        sys.exit(f"try-compose: {error}")
    try:
        attempt(stack)
    except CallFailed as error:
        logs = subprocess.run(
            [*stack.command, "logs", "--tail=60"],
            env=stack.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        print(logs.stdout, file=sys.stderr)
        sys.exit(f"try-compose: {error}")
    finally:
        stack.remove(keep_image=keep_image)
    say(f"all held; removed again; {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
