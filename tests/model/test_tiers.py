"""KV blocks below the pool: what comes back is what was put, and what was purged is nowhere."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from model.errors import CacheError
from model.kv import block_file, disk
from model.kv.purges import Purges
from model.kv.tiers import Tiers

FINGERPRINT = b"engine A"
BYTES = 2 * 2 * 8 * 2 * 16 * 2
ROOMY = 1 << 30


def name(i: int) -> bytes:
    return hashlib.sha256(b"block %d" % i).digest()


def canary(i: int) -> bytes:
    """64 bytes that only block i has, again and again."""
    return hashlib.sha512(b"content %d" % i).digest()


def content(i: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    raw = torch.frombuffer(bytearray(canary(i) * (BYTES // 64)), dtype=torch.uint8)
    return raw.view(dtype).reshape(2, 2, 8, 2, -1)


def same(got: torch.Tensor | None, i: int) -> bool:
    return got is not None and got.view(torch.uint8).equal(content(i).view(torch.uint8))


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.kv"))


def has(folder: Path, i: int) -> bool:
    """Whether the content of block i is in any file, whatever its name."""
    return any(canary(i) in path.read_bytes() for path in folder.rglob("*") if path.is_file())


Open = Callable[..., Tiers]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "kv"


@pytest.fixture
def tiers(folder: Path) -> Iterator[Open]:
    """Opens tiers over `folder`; closes them at the end."""
    opened: list[Tiers] = []

    def open_(memory: int = ROOMY, size: int = ROOMY, fingerprint: bytes = FINGERPRINT, **more: Any) -> Tiers:
        opened.append(Tiers(memory, folder, size, fingerprint, **more))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


KEYS = st.integers(0, 7)
LIMITS = st.sampled_from([(ROOMY, ROOMY), (0, ROOMY), (ROOMY, 2 * BYTES), (2 * BYTES, 4 * BYTES)])
TAGS = st.sampled_from(["doc-1", "doc-2", "ws_ü"])


def flip(path: Path, where: float) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[min(len(data) - 1, int(where * len(data)))] ^= 0x40
        path.write_bytes(data)


class Model(RuleBasedStateMachine):
    """Random histories against a dict of what may be there, with limits that hold few blocks or all."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(os.environ["TIERS_ROOT"]) / os.urandom(8).hex()
        self.tags: dict[int, set[str]] = {}
        self.certain: set[int] = set()

    @initialize(limits=LIMITS)
    def begin(self, limits: tuple[int, int]) -> None:
        self.limits = limits
        self.tiers = Tiers(*self.order(), FINGERPRINT)

    def order(self) -> tuple[int, Path, int]:
        return self.limits[0], self.root, self.limits[1]

    def teardown(self) -> None:
        self.tiers.close()
        shutil.rmtree(self.root, ignore_errors=True)

    @rule(i=KEYS, tags=st.sets(TAGS))
    def put(self, i: int, tags: set[str]) -> None:
        if not self.tiers.contains(name(i)):
            self.tags[i] = set()
        self.tiers.put(name(i), content(i), tags)
        self.tags[i] = self.tags.get(i, set()) | tags
        if self.limits == (ROOMY, ROOMY):
            self.certain.add(i)

    @rule(i=KEYS, ahead=st.booleans())
    def get(self, i: int, ahead: bool) -> None:
        if ahead:
            self.tiers.prefetch([name(i), name((i + 1) % 8)])
        got = self.tiers.get(name(i))
        if i not in self.tags:
            assert got is None
        elif got is not None or i in self.certain:
            assert same(got, i)

    @rule(i=KEYS, tag=TAGS)
    def tag(self, i: int, tag: str) -> None:
        self.tiers.tag(name(i), [tag])
        if self.tiers.contains(name(i)):
            assert tag in self.tiers.tags(name(i))
            self.tags[i].add(tag)

    @rule(keys=st.lists(KEYS, max_size=4))
    def touch(self, keys: list[int]) -> None:
        self.tiers.touch([name(i) for i in keys])

    @rule(tag=TAGS)
    def purge(self, tag: str) -> None:
        self.tiers.purge(tag)
        for i in [i for i, tags in self.tags.items() if tag in tags]:
            # One that was evicted and put again has only its newer tags.
            if i in self.certain or not self.tiers.contains(name(i)):
                assert not self.tiers.contains(name(i))
                assert self.tiers.get(name(i)) is None
                assert not has(self.root, i)
                del self.tags[i]
            else:
                assert tag not in self.tiers.tags(name(i))
            self.certain.discard(i)

    @rule(i=KEYS, how=st.sampled_from(["flip", "cut", "empty", "gone"]), where=st.floats(0, 1))
    def harm(self, i: int, how: str, where: float) -> None:
        self.tiers.flush()
        path = self.root / f"{name(i).hex()}.kv"
        if path.exists():
            self.certain.discard(i)
            if how == "flip":
                flip(path, where)
            elif how == "gone":
                path.unlink()
            else:
                os.truncate(path, int(where * path.stat().st_size) if how == "cut" else 0)

    @rule(limits=LIMITS)
    def restart(self, limits: tuple[int, int]) -> None:
        self.tiers.close()
        self.limits = limits
        if limits[1] != ROOMY:
            self.certain.clear()
        self.tiers = Tiers(*self.order(), FINGERPRINT)

    @rule(i=KEYS, j=KEYS)
    def swap(self, i: int, j: int) -> None:
        self.tiers.close()
        one, other = (self.root / f"{name(k).hex()}.kv" for k in (i, j))
        if i != j and one.exists():
            self.certain -= {i, j}
            one.replace(other)
        self.tiers = Tiers(*self.order(), FINGERPRINT)

    @invariant()
    def within_limits(self) -> None:
        stats = self.tiers.stats()
        assert stats.disk is not None
        assert 0 <= stats.memory.bytes <= stats.memory.limit
        assert 0 <= stats.disk.bytes <= stats.disk.limit
        self.tiers.flush()
        assert sum(path.stat().st_size for path in files(self.root)) <= stats.disk.limit
        assert self.tiers.stats().disk.problem is None  # type: ignore[union-attr]


def test_histories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIERS_ROOT", str(tmp_path))
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=150,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.mark.parametrize(
    "dtype",
    [torch.bfloat16, torch.float16, torch.float32, torch.int8, torch.uint8, torch.float8_e4m3fn],
)
def test_every_dtype_survives_a_restart_bit_for_bit(tiers: Open, dtype: torch.dtype) -> None:
    before = tiers()
    before.put(name(1), content(1, dtype), ["a"])
    before.close()
    got = tiers().get(name(1))
    assert got is not None
    assert (got.dtype, got.shape) == (dtype, content(1, dtype).shape)
    assert same(got, 1)


def test_files_and_folder_are_for_their_owner_alone(tiers: Open, folder: Path) -> None:
    one = tiers()
    one.put(name(1), content(1), ["a"])
    one.flush()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_view_is_not_kept_with_the_tensor_behind_it(tiers: Open) -> None:
    one = tiers()
    whole = torch.stack([content(1), content(2)], dim=2)
    one.put(name(1), whole[:, :, 0], [])
    got = one.get(name(1))
    assert same(got, 1)
    assert got is not None
    assert got.untyped_storage().nbytes() == got.nbytes


def test_every_flipped_byte_is_a_miss(tiers: Open, folder: Path) -> None:
    one = tiers()
    one.put(name(1), content(1), ["doc-1"])
    one.tag(name(1), ["doc-2"])
    one.close()
    (path,) = files(folder)
    good = path.read_bytes()
    head = good.index(canary(1))
    regions = [*range(head), *range(head, len(good) - 200, 97), *range(len(good) - 200, len(good))]
    live = tiers(0, pause=0.0)
    for at in regions:
        # Written anew and not replaced, so that the index still trusts the file: reading has to notice.
        bad = bytearray(good)
        bad[at] ^= 1
        path.write_bytes(bad)
        if at < head + BYTES + 32:
            with pytest.raises(block_file.BlockFileError):
                block_file.read_block(path, name(1), FINGERPRINT)
        else:
            with pytest.raises(block_file.BlockFileError):
                block_file.read_head(path)
    assert live.get(name(1)) is None
    assert not path.exists()
    assert live.stats().disk.damaged == 1  # type: ignore[union-attr]
    for end in [*range(0, head, 7), head + 5, len(good) - 1, len(good) - 40]:
        path.write_bytes(good[:end])
        with pytest.raises(block_file.BlockFileError):
            block_file.read_head(path)


def test_files_of_others_are_never_read(tiers: Open, folder: Path) -> None:
    other = tiers(fingerprint=b"engine B")
    other.put(name(1), content(1), ["doc-1"])
    other.close()
    one = tiers()
    assert one.get(name(1)) is None
    assert not one.contains(name(1))
    # The other model's files come back with it, and a purge reaches them.
    assert one.purge("doc-1") == 1
    assert not has(folder, 1)
    one.put(name(1), content(1), ["doc-1"])
    one.close()
    data = files(folder)[0].read_bytes()
    files(folder)[0].write_bytes(data.replace(b"LLKV", b"LLKW"))
    folder.joinpath(f"{name(2).hex()}.kv").write_bytes(b"")
    folder.joinpath(f"{name(3).hex()}.kv").symlink_to("/etc/hostname")
    os.mkfifo(folder / f"{name(4).hex()}.kv")
    folder.joinpath(f"{name(5).hex()}.kv").mkdir()
    folder.joinpath(f"{name(6).hex()}.tmp").write_bytes(canary(6))
    folder.joinpath("notes.txt").write_text("not ours")
    assert not any(tiers().contains(name(i)) for i in range(1, 7))
    left = {path.name for path in folder.iterdir()}
    assert left == {"lock", "notes.txt", f"{name(5).hex()}.kv"}


def test_a_pipe_put_in_place_of_a_file_does_not_hang(tiers: Open, folder: Path) -> None:
    one = tiers(0)
    one.put(name(1), content(1), [])
    one.flush()
    files(folder)[0].unlink()
    os.mkfifo(folder / f"{name(1).hex()}.kv")
    assert one.get(name(1)) is None


def test_a_denied_file_is_a_miss_and_one_that_cannot_be_opened_stays(
    tiers: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tiers(0)
    for i in (1, 2):
        one.put(name(i), content(i), [])
    one.flush()
    real = os.open

    def refuse(path: Any, *args: Any, **more: Any) -> int:
        if str(path).endswith(f"{name(1).hex()}.kv"):
            raise PermissionError(errno.EACCES, "denied", str(path))
        if str(path).endswith(".kv"):
            raise OSError(errno.EMFILE, "too many open files", str(path))
        return real(path, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert one.get(name(1)) is None
        assert one.get(name(2)) is None
    assert one.get(name(1)) is None
    assert same(one.get(name(2)), 2)
    assert len(files(folder)) == 1


def test_a_full_disk_stops_writing_and_nothing_else(
    tiers: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tiers(4 * BYTES, pause=0.1)
    one.put(name(0), content(0), [])
    one.flush()
    real, full = os.write, threading.Event()

    def write(handle: int, data: Any) -> int:
        if full.is_set() and len(data) == BYTES:
            real(handle, bytes(data)[: BYTES // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle, data)

    monkeypatch.setattr(os, "write", write)
    full.set()
    for i in range(1, 4):
        one.put(name(i), content(i), [])
    one.flush()
    # Each attempt clears the problem for a moment, until it fails as well.
    until(lambda: "No space" in str(one.stats().disk.problem))  # type: ignore[union-attr]
    assert one.stats().disk.dropped > 0  # type: ignore[union-attr]
    until(lambda: not list(folder.glob("*.tmp")))
    assert all(same(one.get(name(i)), i) for i in range(4))
    full.clear()
    until(lambda: len(files(folder)) == 4)
    assert one.stats().disk.problem is None  # type: ignore[union-attr]
    one.close()
    assert all(same(tiers().get(name(i)), i) for i in range(1, 2))


def test_a_deleted_folder_is_misses_and_is_made_anew(tiers: Open, folder: Path) -> None:
    one = tiers(0)
    one.put(name(1), content(1), ["a"])
    one.flush()
    shutil.rmtree(folder)
    assert one.get(name(1)) is None
    one.tag(name(1), ["b"])
    assert one.purge("a") == 0
    one.put(name(2), content(2), [])
    one.flush()
    assert same(one.get(name(2)), 2)
    assert len(files(folder)) == 1


def test_a_folder_that_cannot_be_is_no_error(tmp_path: Path) -> None:
    tmp_path.joinpath("file").write_text("in the way")
    one = Tiers(ROOMY, tmp_path / "file" / "kv", ROOMY, FINGERPRINT)
    one.put(name(1), content(1), ["a"])
    assert same(one.get(name(1)), 1)
    stats = one.stats().disk
    assert stats
    assert stats.problem
    assert one.purge("a") == 1
    one.close()


def test_a_file_under_another_name_is_a_miss_at_once(tiers: Open, folder: Path) -> None:
    one = tiers(0)
    for i in (1, 2):
        one.put(name(i), content(i), [])
    one.flush()
    os.replace(folder / f"{name(1).hex()}.kv", folder / f"{name(2).hex()}.kv")
    assert one.get(name(2)) is None
    assert files(folder) == []


def test_ram_keeps_the_most_recently_used(tiers: Open) -> None:
    one = tiers(2 * BYTES, 0)
    for i in (1, 2):
        one.put(name(i), content(i), [])
    assert same(one.get(name(1)), 1)
    one.put(name(3), content(3), [])
    assert [i for i in (1, 2, 3) if one.contains(name(i))] == [1, 3]
    assert one.stats().memory.bytes == 2 * BYTES


def test_the_least_recently_used_goes_also_after_a_restart(tiers: Open, folder: Path) -> None:
    one = tiers(0)
    for i in range(4):
        one.put(name(i), content(i), [])
    one.flush()
    one.touch([name(i) for i in (0, 1, 2)])  # a chain: 0 is its first and most recent
    size = files(folder)[0].stat().st_size
    one.close()
    two = tiers(0, 2 * size)
    assert [i for i in range(4) if two.contains(name(i))] == [0, 1]
    two.put(name(9), content(9), [])
    two.flush()
    assert [i for i in (0, 1, 9) if two.contains(name(i))] == [0, 9]


def test_a_queue_that_is_full_drops_and_catches_up(
    tiers: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    real = disk.write_block

    def slow(*args: Any) -> None:
        go.wait(10)
        real(*args)

    monkeypatch.setattr(disk, "write_block", slow)
    one = tiers(8 * BYTES, queue_bytes=2 * BYTES)
    begin = time.monotonic()
    for i in range(6):
        one.put(name(i), content(i), [])
    assert time.monotonic() - begin < 5  # nobody waited for the writer
    assert one.stats().disk.dropped == 4  # type: ignore[union-attr]
    go.set()
    one.flush()
    assert len(files(folder)) == 6


def test_a_block_larger_than_a_tier_is_not_kept_there(tiers: Open, folder: Path) -> None:
    one = tiers(BYTES, BYTES)  # the file has a header as well
    assert one.put(name(1), content(1), [])
    one.flush()
    assert files(folder) == []
    assert one.stats().disk.dropped == 1  # type: ignore[union-attr]
    one.close()
    two = tiers(BYTES - 1)
    two.put(name(2), content(2), [])
    two.flush()
    assert two.stats().memory.blocks == 0
    assert same(two.get(name(2)), 2)


def test_a_purge_waits_for_the_block_that_is_being_written(
    tiers: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go = threading.Event(), threading.Event()
    real = disk.write_block

    def slow(*args: Any) -> None:
        real(*args)
        inside.set()
        go.wait(10)

    monkeypatch.setattr(disk, "write_block", slow)
    one = tiers(0)
    one.put(name(1), content(1), ["a"])
    inside.wait(10)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(one.purge("a")))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    go.set()
    thread.join(10)
    assert found == [1]
    assert not has(folder, 1)
    assert one.get(name(1)) is None


def test_a_tag_that_comes_during_the_write_is_in_the_file(
    tiers: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = disk.write_block
    one = tiers(0)

    def slow(*args: Any) -> None:
        real(*args)
        one.tag(name(1), ["late"])

    monkeypatch.setattr(disk, "write_block", slow)
    one.put(name(1), content(1), ["a"])
    one.close()
    assert tiers().purge("late") == 1
    assert not has(folder, 1)


def test_a_block_read_during_a_purge_is_not_brought_back(
    tiers: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tiers(0)
    one.put(name(1), content(1), ["a"])
    one.close()
    two = tiers()
    real = disk.read_block

    def read(*args: Any) -> torch.Tensor:
        tensor = real(*args)
        assert two.purge("a") == 1
        return tensor

    monkeypatch.setattr(disk, "read_block", read)
    assert two.get(name(1)) is None
    assert not two.contains(name(1))


def test_what_was_begun_before_a_purge_stays_out(tiers: Open, folder: Path) -> None:
    one = tiers()
    began, start = one.purges, threading.Barrier(3)

    def work(first: int) -> None:
        start.wait()
        for i in range(first, first + 60):
            one.put(name(i), content(i), ["doc-1", "ws"], since=began)
            one.get(name(i - 1))

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 100)]
    for thread in threads:
        thread.start()
    start.wait()
    one.purge("doc-1")
    for thread in threads:
        thread.join()
    one.flush()
    assert files(folder) == []
    assert one.stats().memory.bytes == 0
    assert one.put(name(1), content(1), ["doc-1"])
    assert not one.put(name(2), content(2), ["doc-1"], since=began)


def test_a_file_that_cannot_be_removed_is_emptied_or_told(
    tiers: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tiers(0)
    for i in (1, 2):
        one.put(name(i), content(i), ["a"])
    one.flush()

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert one.purge("a") == 2
    assert not has(folder, 1)
    one.put(name(3), content(3), ["b"])
    one.flush()
    monkeypatch.setattr(os, "truncate", refuse)
    with pytest.raises(CacheError, match="still in"):
        one.purge("b")
    assert one.get(name(3)) is None


def test_the_writer_outlives_what_nobody_expected(tiers: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    one = tiers()

    def fail(*_: Any) -> None:
        raise RuntimeError("unexpected")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write_block", fail)
        one.put(name(1), content(1), ["a"])
        one.flush()
    one.put(name(2), content(2), ["a"])
    one.flush()
    assert one.stats().disk.written == 1  # type: ignore[union-attr]
    assert one.purge("a") == 2


def test_a_tag_that_cannot_be_written_costs_the_file(
    tiers: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tiers(0)
    one.put(name(1), content(1), ["a"])
    one.flush()

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    one.tag(name(1), ["b"])
    assert files(folder) == []
    assert one.get(name(1)) is None


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


WRITER = f"""
import sys
from pathlib import Path
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[2])!r}]
from test_tiers import *
one = Tiers(0, Path(sys.argv[1]), ROOMY, FINGERPRINT)
one.put(name(0), content(0), ["doc-0"])
one.tag(name(0), ["late"])
one.flush()
one.tag(name(0), ["later"])
print("begun", flush=True)
i = 1
while True:
    one.put(name(i), content(i), [f"doc-{{i % 3}}"])
    i += 1
"""


def test_two_processes_and_a_killed_one(tiers: Open, folder: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE)
    try:
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"
        second = tiers(pause=0.05)
        stats = second.stats().disk
        assert stats
        assert "another process" in str(stats.problem)
        assert second.get(name(0)) is None
        second.put(name(1), content(1), ["mine"])
        assert same(second.get(name(1)), 1)
        until(lambda: len(files(folder)) > 30)  # one is purged, and another may be cut short by the kill
        # Tags that were added after the file was written are found by whoever reads the folder.
        assert second.purge("later") == 1
        assert not has(folder, 0)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    until(lambda: second.stats().disk.problem is None)  # type: ignore[union-attr]
    second.flush()
    assert list(folder.glob("*.tmp")) == []
    there = [i for i in range(5000) if second.contains(name(i))]
    assert len(there) > 20
    assert all(same(second.get(name(i)), i) for i in there[:200])
    assert second.stats().disk.damaged == 0  # type: ignore[union-attr]
    assert second.purge("doc-1") > 5
    assert not any(second.contains(name(i)) for i in range(4, 5000, 3))
    assert not has(folder, 4)


def test_a_purge_that_is_forgotten_counts_for_every_tag() -> None:
    purges = Purges(most=2)
    for tag in "abc":
        purges.begin(tag)
    assert purges.count == 3
    assert purges.since("b", 1)
    assert not purges.since("b", 2)
    assert purges.since("x", 0)  # that of "a" is not known any more
    assert not purges.since("x", 1)
