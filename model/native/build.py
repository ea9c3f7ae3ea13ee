"""Compiles the kernels for every instruction-set level: `python -m model.native.build`.

Uses the system's C compiler (`CC`, cc, gcc or clang) or, where there is none, the `ziglang` package's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from model.native.levels import FLAGS, LIBRARIES, SOURCES, fingerprint, is_built, levels


def compiler() -> tuple[list[str], bool]:
    """The command of a C compiler, and whether it is zig's.

    Raises:
        RuntimeError: there is none.
    """
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return [name], False
    if find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"], True
    raise RuntimeError("no C compiler: install gcc or clang, or `pip install ziglang`")


def build() -> list[Path]:
    """Compile all levels; each library appears whole or not at all.

    Raises:
        RuntimeError: no compiler, or it failed (its message is on stderr).
    """
    command, is_zig = compiler()
    LIBRARIES.mkdir(exist_ok=True)
    made = []
    for level in levels():
        target = LIBRARIES / f"longleaf-{level.name}.so"
        half = target.with_suffix(f".{os.getpid()}")
        own = [f"-mcpu={level.zig}"] if is_zig else list(level.flags)
        version = f"-DVERSION=0x{fingerprint()}"
        files = [str(path) for path in sorted(SOURCES.glob("*.c"))]
        full = [*command, *FLAGS, *own, version, *files, "-lm", "-o", str(half)]
        if subprocess.run(full, check=False).returncode:  # noqa: S603
            half.unlink(missing_ok=True)
            raise RuntimeError(f"the compiler failed: {' '.join(full)}")
        half.replace(target)
        made.append(target)
    (LIBRARIES / "stamp").write_text(fingerprint())
    return made


if __name__ == "__main__":
    if not is_built() or "--force" in sys.argv:
        try:
            for path in build():
                print(path)
        except RuntimeError as error:
            sys.exit(f"model.native.build: {error}")
