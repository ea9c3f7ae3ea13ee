"""The real child process: its limits, what its end means, and what it cannot do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from ingesting import tiny_pdf

from ingest.errors import ParseCancelled, ParseError, ParserKilled
from ingest.forking import SERVER
from ingest.limits import ParseLimits
from ingest.sandbox import parse_document
from ingest.wire import MAX_FRAME, FrameReader, WireError, read_blocks, read_json

ROOT = Path(__file__).resolve().parents[2]
LIMITS = ParseLimits(seconds=60)
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    after = {child.pid for child in psutil.Process().children(recursive=True)}
    assert after - {SERVER.pid} <= before


def stored(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(content)
    return path


def word_file(tmp_path: Path, document: bytes, **parts: bytes) -> Path:
    path = tmp_path / "made.docx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", document)
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def failure(path: Path, filename: str, limits: ParseLimits = LIMITS) -> ParseError:
    with pytest.raises(ParseError) as caught:
        parse_document(path, filename, limits)
    return caught.value


def test_pages_arrive_one_by_one(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    path = stored(tmp_path, tiny_pdf(["one", "two", "three"]))
    document = parse_document(path, "a.pdf", LIMITS, lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert [document.text[p.start : p.end].strip() for p in document.pages] == ["one", "two", "three"]


def test_text_longer_than_a_frame_comes_whole(tmp_path: Path) -> None:
    source = "Zeile über Zeile 😀 ohne Ende.\n\n" * 60_000
    assert len(source.encode()) > 2 * MAX_FRAME
    document = parse_document(stored(tmp_path, source.encode()), "long.txt", LIMITS)
    assert document.text == source
    assert document.blocks[-1].end == len(source) - 2


def test_too_little_memory_is_out_of_memory(tmp_path: Path) -> None:
    paragraph = f'<w:document xmlns:w="{WORD}"><w:body>' + "<w:p><w:r><w:t>a</w:t></w:r></w:p>" * 400_000
    path = word_file(tmp_path, (paragraph + "</w:body></w:document>").encode())
    error = failure(path, "a.docx", ParseLimits(seconds=60, memory_bytes=128 << 20))
    assert error.code == "out_of_memory"
    assert "128 MiB" in error.detail


def test_a_page_that_outgrows_memory_is_not_read_in_part(tmp_path: Path) -> None:
    path = stored(tmp_path, b"<html><body>" + b"<p>a<b>c</b></p>" * 500_000)
    assert failure(path, "a.html", ParseLimits(seconds=60, memory_bytes=128 << 20)).code == "out_of_memory"


def test_memory_below_that_of_the_reader_itself_leaves_none_for_the_document(tmp_path: Path) -> None:
    path = stored(tmp_path, b"hello " * 1_000_000)
    error = failure(path, "a.txt", ParseLimits(seconds=60, memory_bytes=16 << 20))
    assert error.code == "out_of_memory"


def test_too_little_time_is_a_timeout(tmp_path: Path) -> None:
    source = "# heading\n\n- item\n\n" * 200_000
    began = time.monotonic()
    error = failure(stored(tmp_path, source.encode()), "a.md", ParseLimits(seconds=0.5))
    assert error.code == "timeout"
    assert "0.5 seconds" in error.detail
    assert time.monotonic() - began < 20


def test_too_much_text_and_too_many_pages_are_too_large(tmp_path: Path) -> None:
    text = stored(tmp_path, b"word " * 1000)
    assert failure(text, "a.txt", ParseLimits(max_characters=4000)).code == "too_large"
    pages = stored(tmp_path, tiny_pdf(["one", "two", "three"]))
    assert failure(pages, "a.pdf", ParseLimits(max_pages=2)).code == "too_large"


def test_no_text_is_said_with_its_reason(tmp_path: Path) -> None:
    scanned = failure(stored(tmp_path, tiny_pdf(["", ""])), "scan.pdf")
    assert scanned.code == "no_text"
    assert "2 pages" in scanned.detail
    assert failure(stored(tmp_path, b" \n\t\n"), "a.txt").code == "empty"
    assert failure(stored(tmp_path, b""), "a.txt").code == "empty"


def test_cancelling_ends_the_child(tmp_path: Path) -> None:
    path = stored(tmp_path, ("# heading\n\n- item\n\n" * 200_000).encode())
    asked = threading.Event()
    threading.Timer(0.3, asked.set).start()
    with pytest.raises(ParseCancelled):
        parse_document(path, "a.md", LIMITS, cancelled=asked.is_set)


def parsing(tmp_path: Path, caught: list[BaseException]) -> tuple[threading.Thread, psutil.Process]:
    """A thread that reads a document of some seconds, and the process that does so for it."""
    path = stored(tmp_path, ("# heading\n\n- item\n\n" * 400_000).encode())

    def read() -> None:
        try:
            parse_document(path, "a.md", LIMITS)
        except ParseError as error:
            caught.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in psutil.Process(SERVER.pid).children() if SERVER.pid else ():
            if os.getpgid(child.pid) == child.pid:
                return thread, child
        time.sleep(0.01)
    raise AssertionError("no process reads the document")


def test_each_document_has_a_process_of_its_own_with_nothing_open_but_its_pipes(tmp_path: Path) -> None:
    parse_document(stored(tmp_path, b"hello"), "a.txt", LIMITS)
    caught: list[BaseException] = []
    thread, child = parsing(tmp_path, caught)
    server = psutil.Process(SERVER.pid)
    try:
        assert os.getpgid(child.pid) == os.getsid(child.pid) == child.pid
        assert os.getpgid(server.pid) != os.getpgid(0)
        assert server.num_threads() == 1
        if os.geteuid() == 0:  # who else may not look
            names = {os.readlink(f"/proc/{child.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{child.pid}/fd")}
            assert sum(name.startswith("pipe:") for name in names) == 2
            assert not any(name.startswith("socket:") for name in names)
            assert str(tmp_path / "blob") not in {file.path for file in server.open_files()}
    finally:
        child.kill()
        thread.join(30)
    assert [type(error) for error in caught] == [ParserKilled]
    assert not server.children()


def test_a_server_that_is_gone_takes_its_documents_along_and_is_replaced(tmp_path: Path) -> None:
    caught: list[BaseException] = []
    thread, child = parsing(tmp_path, caught)
    first = SERVER.pid
    psutil.Process(first).kill()
    thread.join(30)
    assert [type(error) for error in caught] == [ParserKilled]
    psutil.wait_procs([child], timeout=30)  # the kernel ends it with its parent, in its own time
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    for name in ("a", "b"):
        assert parse_document(stored(tmp_path, name.encode()), f"{name}.txt", LIMITS).text == name
    assert SERVER.pid not in (None, first)


def test_the_server_ends_with_the_service(tmp_path: Path) -> None:
    program = f"""import sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from ingest.forking import SERVER
from ingest.limits import ParseLimits
from ingest.sandbox import parse_document
parse_document(Path({str(stored(tmp_path, b"hello"))!r}), "a.txt", ParseLimits())
print(SERVER.pid, flush=True)
import os; os.kill(os.getpid(), 9)"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    deadline = time.monotonic() + 30
    while psutil.pid_exists(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not psutil.pid_exists(int(done.stdout))


def test_documents_are_read_side_by_side(tmp_path: Path) -> None:
    paths = []
    for number in range(12):
        paths.append(tmp_path / f"{number}.txt")
        paths[-1].write_text(f"This is document {number}.")
    with ThreadPoolExecutor(6) as pool:
        texts = [found.text for found in pool.map(lambda p: parse_document(p, p.name, LIMITS), paths)]
    assert texts == [path.read_text() for path in paths]


def test_a_name_is_never_a_path_or_an_option(tmp_path: Path) -> None:
    path = stored(tmp_path, b"A plain sentence.")
    for name in ("../../etc/passwd", "-c import os", "$(reboot).txt", "a\nb.txt", "\u202etxt.exe"):
        assert parse_document(path, name, LIMITS).text == "A plain sentence."


@pytest.fixture
def listener() -> Iterator[tuple[str, list[object]]]:
    """A server that notes who calls; its address, and the calls."""
    calls: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    connection, address = server.accept()
                except TimeoutError:
                    continue
                connection.close()
                calls.append(address)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", calls
        stop.set()
        thread.join()


def test_nothing_that_a_document_names_is_followed(
    tmp_path: Path, listener: tuple[str, list[object]]
) -> None:
    url, calls = listener
    secret = tmp_path / "secret.txt"
    secret.write_text("CANARY-7431")
    page = f"""<html><head><link rel=stylesheet href="{url}/a.css"><base href="{url}"></head><body>
    <img src="{url}/i.png"><iframe src="file://{secret}"></iframe><object data="file://{secret}"></object>
    <script src="{url}/s.js"></script><p>Visible.</p></body></html>"""
    seen = parse_document(stored(tmp_path, page.encode()), "a.html", LIMITS).text
    linked = f"# Read\n\n![x]({url}/i.png)\n\n[local](file://{secret})\n\n{{{{include {secret}}}}}\n"
    seen += parse_document(stored(tmp_path, linked.encode()), "a.md", LIMITS).text
    entity = f"""<?xml version="1.0"?><!DOCTYPE d [<!ENTITY local SYSTEM "file://{secret}">
    <!ENTITY far SYSTEM "{url}/e">]><w:document xmlns:w="{WORD}"><w:body><w:p><w:r><w:t>Before &local;&far;
    after</w:t></w:r></w:p></w:body></w:document>"""
    relations = f"""<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">
    <Relationship Id="r" Type="http://x/attachedTemplate" Target="{url}/t.dotm" TargetMode="External"/>
    </Relationships>"""
    path = word_file(tmp_path, entity.encode(), **{"word/_rels/settings.xml.rels": relations.encode()})
    seen += parse_document(path, "a.docx", LIMITS).text
    assert "CANARY" not in seen
    assert "Visible." in seen
    assert calls == []


CONFINED = """
import os, socket, sys, threading
from pathlib import Path
from ingest import confine
confine.limit_resources(1 << 30, 10)
assert confine.forbid_system_calls()
open("there", "w").close()
def refused(action):
    try:
        action()
    except OSError as error:
        print(error.errno, end=" ")
    else:
        print("allowed", end=" ")
refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
refused(lambda: socket.socketpair())
refused(os.fork)
refused(lambda: os.posix_spawn("/bin/true", ["true"], {}))
refused(lambda: os.execv("/bin/true", ["true"]))
refused(lambda: Path("there").write_text("x"))
thread = threading.Thread(target=print, args=("thread",))
thread.start()
thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="system calls are filtered on Linux only")
def test_the_child_has_no_network_no_programs_and_no_files_to_write(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{CONFINED}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert done.stdout.split() == ["1", "1", "1", "1", "1", "27", "thread"]
    assert (tmp_path / "there").read_bytes() == b""


# What comes over the pipe is checked


@pytest.mark.parametrize(
    "sent", [b"X\x00\x00\x00\x00", b"T\xff\xff\xff\xff", b"T" + (MAX_FRAME + 1).to_bytes(4, "little")]
)
def test_malformed_frames_are_refused(sent: bytes) -> None:
    with pytest.raises(WireError):
        list(FrameReader().feed(sent))


@pytest.mark.parametrize("payload", [b"\xff", b"[]", b"1" * 5000, b"[" * 100_000])
def test_headers_are_objects(payload: bytes) -> None:
    with pytest.raises(WireError):
        read_json(payload)


@pytest.mark.parametrize("payload", [b"123", b"\x09" + bytes(9)])
def test_blocks_are_of_known_kinds(payload: bytes) -> None:
    with pytest.raises(WireError):
        read_blocks(payload)


def test_frames_cut_anywhere_are_the_same_frames() -> None:
    sent = b"H\x02\x00\x00\x00{}" + b"P\x00\x00\x00\x00" + b"T\x03\x00\x00\x00abc"
    whole = list(FrameReader().feed(sent))
    reader = FrameReader()
    assert [frame for byte in sent for frame in reader.feed(bytes([byte]))] == whole
    assert [kind for kind, _ in whole] == ["H", "P", "T"]
