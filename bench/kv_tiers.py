"""How fast KV blocks go to disk and come back, and what checking them costs.

python -m bench.kv_tiers --folder DIR
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from model.kv.tiers import Tiers

ROOMY = 1 << 40
SHAPE = (30, 2, 256, 3, 64)
"""SmolLM2-135M: 256 tokens in bfloat16 are 5,898,240 bytes."""


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Median."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def name(i: int) -> bytes:
    return hashlib.sha256(b"%d" % i).digest()


def drop_page_cache(folder: Path) -> None:
    for path in folder.glob("*.kv"):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def read(folder: Path, names: list[bytes], *, ahead: bool, cold: bool) -> float:
    times = []
    for _ in range(5):
        if cold:
            drop_page_cache(folder)
        tiers = Tiers(ROOMY, folder, ROOMY, b"bench")
        begin = time.perf_counter()
        if ahead:
            tiers.prefetch(names)
        assert all(tiers.get(key) is not None for key in names)
        times.append(time.perf_counter() - begin)
        tiers.close()
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="a new folder on the disk to be measured")
    parser.add_argument("--blocks", type=int, default=32, help="of 256 tokens; 32 are 8,192 tokens")
    parser.add_argument("--scan", type=int, default=10_000, help="small files for the start-up scan")
    options = parser.parse_args()
    folder: Path = options.folder
    names = [name(i) for i in range(options.blocks)]
    blocks = [torch.randn(SHAPE).bfloat16() for _ in names]
    size = sum(block.nbytes for block in blocks)

    data = os.urandom(64 << 20)
    for digest in ("sha256", "blake2b", "sha512", "sha3_256"):
        rate = len(data) / seconds(lambda d=digest: hashlib.new(d, data).digest()) / 1e9  # type: ignore[misc]
        print(f"{digest}: {rate:.2f} GB/s")

    def write() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        tiers = Tiers(0, folder, ROOMY, b"bench", queue_bytes=ROOMY)
        for key, block in zip(names, blocks, strict=True):
            tiers.put(key, block, ["doc", "ws"])
        tiers.flush()
        tiers.close()

    took = seconds(write)
    print(f"write: {size / 1e6:.0f} MB in {took:.3f} s, {size / took / 1e9:.2f} GB/s")
    print(f"a file: {next(folder.glob('*.kv')).stat().st_size - blocks[0].nbytes} bytes above its tensor")
    for cold in (False, True):
        for ahead in (False, True):
            took = read(folder, names, ahead=ahead, cold=cold)
            print(f"read, {'cold' if cold else 'page cache'}, {'prefetch' if ahead else 'get'}:", end=" ")
            print(f"{took:.3f} s, {size / took / 1e9:.2f} GB/s")
    shutil.rmtree(folder)

    tiers = Tiers(0, folder, ROOMY, b"bench", queue_bytes=ROOMY)
    small = torch.zeros(1, 2, 16, 1, 16)
    took = seconds(lambda: [tiers.put(name(i), small, ["doc", "ws"]) for i in range(options.scan)], 1)
    print(f"put: {took / options.scan * 1e6:.1f} µs each")
    tiers.flush()

    def tag_all(tag: str) -> None:
        for i in range(options.scan):
            tiers.tag(name(i), [tag])

    took = seconds(lambda: tag_all("doc"), 1)
    print(f"tag that is there: {took / options.scan * 1e6:.1f} µs")
    took = seconds(lambda: tag_all("b"), 1)
    print(f"new tag: {took / options.scan * 1e6:.1f} µs")
    tiers.close(60)
    begin = time.perf_counter()
    tiers = Tiers(0, folder, ROOMY, b"bench")
    print(f"start with {options.scan} files: {time.perf_counter() - begin:.2f} s")
    begin = time.perf_counter()
    gone = tiers.purge("doc")
    print(f"purge of {gone}: {time.perf_counter() - begin:.2f} s")
    tiers.close()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
