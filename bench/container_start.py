"""How long a container takes from its start to ready: python -m bench.container_start IMAGE [IMAGE…]

The first start on an empty volume, and the next ones on it, as the compose file would start it: read-only and
without capabilities; on SQLite, so that no other container counts. What each part took is from the log.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from typing import Any

AGAIN = 3
PATIENCE = 180.0


def docker(*arguments: str) -> str:
    """What a docker command prints. Raises CalledProcessError."""
    done = subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True)
    return (done.stdout + done.stderr if arguments[0] == "logs" else done.stdout).strip()


def start(image: str, volume: str) -> dict[str, float]:
    """Seconds from the start of a container until it listens, is `ready`, and of its parts; it is removed."""
    began = time.monotonic()
    identity = docker(
        *("run", "-d", "--read-only", "--tmpfs=/tmp", "--cap-drop", "ALL", "-v", f"{volume}:/data"),
        *("-e", "LONGLEAF_LOG_FORMAT=json", "-p", "127.0.0.1::8000", image),
    )
    try:
        url = f"http://{docker('port', identity, '8000/tcp').splitlines()[0]}"
        seconds: dict[str, float] = {}
        while "ready" not in seconds:
            if time.monotonic() - began > PATIENCE:
                raise TimeoutError(
                    f"{image} was not ready after {PATIENCE:.0f} s: {docker('logs', identity)}"
                )
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=5):  # noqa: S310
                    seconds["ready"] = time.monotonic() - began
            except urllib.error.HTTPError:
                seconds.setdefault("listening", time.monotonic() - began)
                time.sleep(0.05)
            except OSError:
                time.sleep(0.05)
        for line in docker("logs", identity).splitlines():
            entry: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
            if str(entry.get("message", "")).endswith(" loaded"):
                seconds[entry["message"].removesuffix(" loaded")] = float(entry["seconds"])
        return seconds
    finally:
        docker("rm", "-f", identity)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--again", type=int, default=AGAIN, help="starts on the volume of the first")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, {docker('version', '--format', 'Docker {{.Server.Version}}')}")
    print(f"{'image':24} {'start':8} {'listening':>9} {'ready':>7}  parts")
    for image in given.images:
        volume = f"longleaf-start-{uuid.uuid4().hex[:8]}"
        docker("volume", "create", volume)
        try:
            rows = [("first", start(image, volume))]
            later = [start(image, volume) for _ in range(given.again)]
            names = {name for each in later for name in each}
            if later:
                median = {n: statistics.median(e[n] for e in later if n in e) for n in names}
                rows.append((f"next ×{len(later)}", median))
            for name, seconds in rows:
                parts = " ".join(
                    f"{part} {took:.1f}"
                    for part, took in sorted(seconds.items())
                    if part not in {"ready", "listening"}
                )
                shown = seconds.get("listening", seconds["ready"])
                print(f"{image:24} {name:8} {shown:8.1f}s {seconds['ready']:6.1f}s  {parts}", flush=True)
        finally:
            docker("volume", "rm", "-f", volume)


if __name__ == "__main__":
    main()
