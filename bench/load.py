"""Fifty people at once, then more than the machine can do: python -m bench.load [--users 50] [--minutes 10]

A service and a store of its own, with the documents of the demo; people (locust) who search, ask with a
stream, and upload, and read in between. First `--users` of them, then `--times` as many, then nobody, until a
search is as quick as it was. A request that was let in must finish: a stream with its last event, an upload
with its document. 429 and 503 are refusals, which must say when to try again, and are apart. `--short` is the
whole in less than two minutes. It ends with every figure beside its goal, and with 1 where one is missed.
"""

from __future__ import annotations

from gevent import monkey  # isort: skip

monkey.patch_all()

import argparse
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import httpx
import psutil
from locust import HttpUser, between, task
from locust.env import Environment

ROOT = Path(__file__).resolve().parent.parent
QUESTIONS = (
    "How many pounds a week did the Red-Headed League pay?",
    "What was copied in the office?",
    "Who is the pawnbroker?",
    "What does identity proofing establish?",
    "Which authenticators may be used?",
    "What is a verifier?",
)
REFUSED = {429, 503}
SEARCH_SECONDS = 0.3
REFUSAL_SECONDS = 0.1
RECOVERY_SECONDS = 5.0
GROWTH = 0.05
LINES = "The mill owes {} guilders to the house of {}, payable on the {} day of the month of account {}.\n"


class Notes:
    """What one phase saw: seconds of what was done and refused, and what went wrong."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.refused: list[float] = []
        self.mute = 0  # refusals that did not say when to try again
        self.errors: list[str] = []

    def row(self, label: str) -> str:
        """The line of the table."""
        done = {name: len(taken) for name, taken in self.seconds.items()}
        search, ask = self.seconds["search"], self.seconds["ask"]
        return (
            f"{label:14}{sum(done.values()):7}{len(self.errors):8}{len(self.refused):9}"
            f"{p95(self.refused) * 1e3:12.0f}{middle(search) * 1e3:11.0f}{p95(search) * 1e3:9.0f}"
            f"{middle(ask):10.1f}{p95(ask):8.1f}{p95(self.seconds['upload']) * 1e3:11.0f}"
        )


HEAD = (
    f"{'':14}{'done':>7}{'errors':>8}{'refused':>9}{'refusal p95':>12}{'search p50':>11}{'p95 ms':>9}"
    f"{'ask p50':>10}{'p95 s':>8}{'upload p95':>11}"
)


def p95(values: list[float]) -> float:
    """The 95th percentile; 0 of nothing."""
    return sorted(values)[int(0.95 * (len(values) - 1))] if values else 0.0


def middle(values: list[float]) -> float:
    """The median; 0 of nothing."""
    return statistics.median(values) if values else 0.0


def person(think: float, notes: Notes, seed: int) -> type[HttpUser]:
    """A kind of user who writes down what happens in `notes`; another `seed` sends other documents."""

    class Person(HttpUser):
        """Searches, asks, uploads, and reads in between."""

        wait_time = between(think / 2, think * 1.5)
        draw = random.Random(seed)

        def _send(self, name: str, path: str, wanted: bytes, **body: Any) -> None:
            begun = time.perf_counter()
            try:
                with self.client.post(path, name=name, catch_response=True, timeout=600, **body) as response:
                    content, status = response.content or b"", response.status_code
                    response.success()
            except Exception as error:
                notes.errors.append(f"{name}: {error!r}")
                return
            taken = time.perf_counter() - begun
            if status in REFUSED:
                notes.refused.append(taken)
                notes.mute += not response.headers.get("Retry-After", "").isdecimal()
            elif status >= 300 or wanted not in content:
                notes.errors.append(f"{name}: {status} {content[-200:]!r}")
            else:
                notes.seconds[name].append(taken)

        @task(6)
        def search(self) -> None:
            """A search of ten passages."""
            self._send("search", "/search", b'"results":[{', json={"query": self.draw.choice(QUESTIONS)})

        @task(2)
        def ask(self) -> None:
            """A question whose answer is streamed to its end."""
            body = {"question": self.draw.choice(QUESTIONS), "stream": True}
            self._send("ask", "/query", b"event: done", json=body)

        @task(1)
        def upload(self) -> None:
            """A small document that nobody has sent yet."""
            text = "".join(LINES.format(*(self.draw.randrange(10**6) for _ in range(4))) for _ in range(20))
            files = {"file": (f"account-{self.draw.randrange(10**9)}.txt", text.encode())}
            self._send("upload", "/documents", b'"job_id"', files=files, data={"collection": "accounts"})

    return Person


@contextmanager
def service(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Address and process of a service with the demo's documents, ready."""
    settings = {"LONGLEAF_DATA_DIR": str(folder / "data"), "PYTHONPATH": str(ROOT)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGLEAF_")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "api", "serve", "--port", "0"],
            env=kept | settings,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().rsplit(" ", 1)[-1].strip()
        with httpx.Client(base_url=url, timeout=300) as client:
            paths = [each for each in (ROOT / "demo" / "documents").iterdir() if each.name != "README.md"]
            for path in paths:
                client.post("/documents", files={"file": (path.name, path.read_bytes())}).raise_for_status()
            settle(client)
            for question in QUESTIONS:  # what is read once is read
                client.post("/query", json={"question": question}).raise_for_status()
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def settle(client: httpx.Client) -> None:
    """Wait until everything is ready and every document is read."""
    while client.get("/readyz").status_code != 200:
        time.sleep(0.2)
    while any(
        line.rsplit(" ", 1)[1] != "0.0"
        for line in client.get("/metrics").text.splitlines()
        if line.startswith(('longleaf_queue_jobs{status="queued"', 'longleaf_queue_jobs{status="running"'))
    ):
        time.sleep(0.2)


def phase(url: str, users: int, seconds: float, think: float, seed: int) -> Notes:
    """That many people for that long; those who are in the middle of something finish it."""
    notes = Notes()
    environment = Environment(user_classes=[person(think, notes, seed)], host=url, stop_timeout=600)
    runner = environment.create_local_runner()
    runner.start(users, spawn_rate=max(5.0, users / 10))
    gevent.sleep(seconds)
    runner.quit()
    return notes


def recovery(url: str, usual: float) -> float:
    """Seconds until three searches in a row are answered within twice the usual 95th percentile."""
    begun, quick = time.perf_counter(), 0
    with httpx.Client(base_url=url, timeout=60) as client:
        while quick < 3:
            at = time.perf_counter()
            answer = client.post("/search", json={"query": QUESTIONS[0]})
            good = answer.status_code == 200 and time.perf_counter() - at <= max(0.3, 2 * usual)
            quick = quick + 1 if good else 0
    return time.perf_counter() - begun


def judged(usual: Notes, much: Notes, *, back: float, growth: float, failed: int, others: int) -> bool:
    """Print every figure beside its goal; whether all are met."""
    errors = len(usual.errors) + len(much.errors) + others
    rows: tuple[tuple[Any, ...], ...] = (
        ("errors other than 429 and 503", errors, 0, "", errors == 0),
        ("documents that were let in and failed", failed, 0, "", failed == 0),
        ("refusals without Retry-After", usual.mute + much.mute, 0, "", usual.mute + much.mute == 0),
        ("refusals of the usual users", len(usual.refused), 0, "", not usual.refused),
        _within("search, usual users, 95th percentile", p95(usual.seconds["search"]), SEARCH_SECONDS),
        _within("refusal, 95th percentile", p95(much.refused), REFUSAL_SECONDS, there=bool(much.refused)),
        _within("until searches are quick again", back, RECOVERY_SECONDS),
        ("growth of memory, %", round(growth * 100, 1), GROWTH * 100, "", growth <= GROWTH),
    )
    print(f"{'':42}{'found':>10}{'goal':>8}")
    for name, found, goal, unit, met in rows:
        print(f"{name:42}{found:>10g}{goal:>8g}{unit:3} {'pass' if met else 'FAIL'}")
    return all(met for *_, met in rows)


def _within(name: str, seconds: float, goal: float, *, there: bool = True) -> tuple[Any, ...]:
    """A row in milliseconds; without anything that was measured, it is not met."""
    return name, round(seconds * 1e3), goal * 1e3, " ms", there and seconds <= goal


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--times", type=int, default=5, help="how many times the users in the second phase")
    parser.add_argument("--think", type=float, default=10.0, help="seconds between two requests of one")
    parser.add_argument("--short", action="store_true", help="half a minute of each")
    given = parser.parse_args()
    seconds = 30.0 if given.short else given.minutes * 60
    over = 25.0 if given.short else min(seconds, 120.0)
    print(f"{platform.machine()}, {os.cpu_count()} cores, clients on them too; {given.think:.0f} s to read")
    print(HEAD)
    with tempfile.TemporaryDirectory() as folder, service(Path(folder)) as (url, process):
        warm = phase(url, given.users, min(20.0, seconds / 3), given.think, 1)
        before = process.memory_info().rss
        usual = phase(url, given.users, seconds, given.think, 2)
        after = process.memory_info().rss
        print(usual.row(f"{given.users} users"), flush=True)
        much = phase(url, given.users * given.times, over, given.think / given.times, 3)
        print(much.row(f"{given.users * given.times} users"), flush=True)
        back = recovery(url, p95(usual.seconds["search"]))
        with httpx.Client(base_url=url, timeout=600) as client:
            begun = time.perf_counter()
            settle(client)
            read = time.perf_counter() - begun
            failed = sum(
                int(float(line.rsplit(" ", 1)[1]))
                for line in client.get("/metrics").text.splitlines()
                if line.startswith('longleaf_documents{status="failed"')
            )
        grown = f"memory {before / 2**20:.0f} -> {after / 2**20:.0f} MiB ({after / before - 1:+.1%})"
        print(f"{grown}; searches are quick again after {back:.1f} s, all uploads read {read:.1f} s later")
        for error in (warm.errors + usual.errors + much.errors)[:10]:
            print("error:", error)
        met = judged(
            usual, much, back=back, growth=after / before - 1, failed=failed, others=len(warm.errors)
        )
    if not met:
        sys.exit(1)


if __name__ == "__main__":
    main()
