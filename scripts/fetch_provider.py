"""Install the OpenID Connect provider that the tests sign in with, once, into `.cache/`.

It is a package of npm, pinned by hashes with all that it needs in `tests/provider/package-lock.json`.
The second call needs no network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fetch_tokenizer import npm

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".cache" / "oidc-provider"
LISTS = ("package.json", "package-lock.json")


def complete(folder: Path) -> bool:
    """Whether a folder holds what the lists of today name."""
    source = ROOT / "tests" / "provider"
    return all(
        (folder / name).is_file() and (folder / name).read_bytes() == (source / name).read_bytes()
        for name in LISTS
    )


def fetch(folder: Path) -> None:
    """Install the packages into a folder, all or none. Nothing of them is run."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        for name in LISTS:
            shutil.copyfile(ROOT / "tests" / "provider" / name, new / name)
        command = [*npm(), "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=new, check=True)
        for name in LISTS:  # npm may have rewritten them
            shutil.copyfile(ROOT / "tests" / "provider" / name, new / name)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(new, folder)


if __name__ == "__main__" and not complete(PLACE):
    print("Fetching an OpenID Connect provider for the tests.", flush=True)
    try:
        fetch(PLACE)
    except (subprocess.CalledProcessError, OSError) as error:
        sys.exit(f"fetch_provider: it could not be installed: {error}")
