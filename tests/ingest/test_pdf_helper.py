"""A large PDF is read by two processes; what comes out is what one alone would have read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from ingesting import tiny_pdf

from ingest import sandbox
from ingest.errors import ParseCancelled, ParseError
from ingest.forking import SERVER
from ingest.limits import ParseLimits
from ingest.sandbox import parse_document

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).resolve().parents[1] / "data"
LIMITS = ParseLimits(seconds=60)
needs_two_cores = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="there is no core for a helper"
)

# Reads a PDF with a helper and prints how many pages it read itself, then the lines of all. The sleep leaves
# the other pages to the helper; with `kill`, that is gone at once, as if it had taken all pages before.
_PROGRAM = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from ingest.parsers.pdf_ahead import PagesAhead
from ingest.parsers.pdf_helper import fork_helper
from ingest.parsers.pdf_lines import open_pdfium
from ingest.parsers.source import Source

path, end = Path(sys.argv[2]), sys.argv[3]
helper = fork_helper(path, memory_bytes=2 << 30, seconds=60, max_pages=1000)
_, count, read, _ = open_pdfium(Source("a.pdf", path))
own = []
def slowly(number):
    time.sleep(0.01)
    own.append(number)
    return read(number)
ahead = PagesAhead(slowly, count, helper)
if end == "kill":
    os.kill(helper._pid, signal.SIGKILL)
    helper._taken[:count] = bytes([2]) * count
sample = ahead.sample([0, count // 2, count - 1])
assert [lines[0].text for lines in sample] == ["page 0", f"page {count // 2}", f"page {count - 1}"]
seen = []
for number in range(count):
    seen += [line.text for line in ahead.lines(number)]
ahead.alone()
assert seen == [f"page {number}" for number in range(count)], seen
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print(count - len(own))
"""


def by_helper(tmp_path: Path, end: str) -> int:
    """How many of 200 pages the helper read."""
    path = tmp_path / "a.pdf"
    path.write_bytes(tiny_pdf([f"page {number}" for number in range(200)]))
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(ROOT), str(path), end],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@needs_two_cores
def test_a_helper_reads_what_nobody_has_taken_and_the_order_stays(tmp_path: Path) -> None:
    assert by_helper(tmp_path, "live") > 100


@needs_two_cores
def test_what_a_dead_helper_had_taken_is_read_by_the_other(tmp_path: Path) -> None:
    assert by_helper(tmp_path, "kill") < 200


@needs_two_cores
@pytest.mark.parametrize("path", sorted(DATA.rglob("*.pdf")), ids=lambda path: path.name)
def test_every_pdf_reads_the_same_with_a_helper(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for helped in (False, True):
        monkeypatch.setattr(sandbox, "_is_worth_helping", lambda path, helped=helped: helped)  # noqa: ARG005
        try:
            document = parse_document(path, path.name, LIMITS)
            found.append((document.text, document.pages, document.blocks))
        except ParseError as error:
            found.append((error.code, error.detail))
    assert found[0] == found[1]


@needs_two_cores
def test_a_helper_is_for_large_pdfs(tmp_path: Path) -> None:
    small, large, text = tmp_path / "small", tmp_path / "large", tmp_path / "text"
    small.write_bytes(tiny_pdf(["one"]))
    large.write_bytes(tiny_pdf(["one"]) + b"\n" * sandbox._WORTH_BYTES)
    text.write_bytes(b"word " * sandbox._WORTH_BYTES)
    worth = [sandbox._is_worth_helping(path) for path in (small, large, text)]
    assert worth == [False, True, False]


@needs_two_cores
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGSEGV, None], ids=["killed", "crashed", "cancelled"]
)
def test_no_helper_outlives_the_process_that_it_helps(tmp_path: Path, number: signal.Signals | None) -> None:
    path = tmp_path / "long.pdf"
    path.write_bytes(tiny_pdf([f"page {number}" for number in range(9000)]))
    seen: list[int] = []
    cancelled = threading.Event()

    def on_progress(done: int, _total: int | None) -> None:
        if done < 100 or seen:
            return
        reading = psutil.Process(SERVER.pid).children()
        seen.extend(child.pid for child in psutil.Process(SERVER.pid).children(recursive=True))
        assert len(reading) == 1
        if number is None:
            cancelled.set()
        else:
            reading[0].send_signal(number)

    with pytest.raises((ParseError, ParseCancelled)):
        parse_document(path, "long.pdf", LIMITS, on_progress, cancelled.is_set)
    assert len(seen) == 2
    assert not psutil.Process(SERVER.pid).children(recursive=True)
