"""A server with the S3 API on loopback, rclone's, whose buckets are folders."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rag.settings import Settings

ACCESS, SECRET, BUCKET = "longleaf", "a-secret-of-the-tests", "documents"


@dataclass(frozen=True)
class S3Server:
    """Where it listens, and the folder whose files are its objects."""

    endpoint: str
    folder: Path
    process: subprocess.Popen[bytes]

    def settings(self, data_dir: Path, **others: object) -> Settings:
        """Settings of a service that uses it."""
        return Settings(
            _env_file=None,
            data_dir=data_dir,
            objects=f"s3://{BUCKET}/team",
            objects_endpoint=self.endpoint,
            objects_access_key=ACCESS,
            objects_secret_key=SECRET,
            **others,
        )


@contextmanager
def serving(folder: Path) -> Iterator[S3Server]:
    """Start it, wait until it listens, and stop it at the end."""
    (folder / BUCKET).mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "rclone"), "serve", "s3", "--config", "/dev/null"]
    command += ["--auth-key", f"{ACCESS},{SECRET}"]
    process = subprocess.Popen(
        [*command, "--addr", f"127.0.0.1:{port}", str(folder)], stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield S3Server(f"http://127.0.0.1:{port}", folder / BUCKET / "team", process)
    finally:
        process.kill()
        process.wait()


def unserved(data_dir: Path) -> Settings:
    """Settings of a bucket where no server is."""
    return Settings(
        _env_file=None,
        data_dir=data_dir,
        objects="s3://bucket",
        objects_endpoint="http://127.0.0.1:9",
        objects_access_key="a",
        objects_secret_key="b",
    )
