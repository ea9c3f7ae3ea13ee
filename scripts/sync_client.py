"""Write `longleaf/client.py` from `longleaf/aio.py`: the same client without `await`.

    python scripts/sync_client.py [--check]

With `--check` nothing is written; it ends with 1 where the file is not what it would be.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "longleaf"
_LINES = (
    ("import anyio\nimport anyio.to_thread\n", ""),
    ("from __future__ import annotations\n\n", "from __future__ import annotations\n\nimport time\n"),
    ("await anyio.to_thread.run_sync(uploads.piece, source, step)", "uploads.piece(source, step)"),
    ("await anyio.sleep(", "time.sleep("),
    (
        "methods are awaited. `client.py` is made of this file: `python scripts/sync_client.py`.",
        "methods are called, made of `aio.py` by `scripts/sync_client.py`.",
    ),
    ("in asyncio or trio", "which several threads may use"),
    (
        "            for document in page.documents:\n                yield document\n",
        "            yield from page.documents\n",
    ),
    (
        "            for given in page.feedback:\n                yield given\n",
        "            yield from page.feedback\n",
    ),
    ("AsyncGenerator[AsyncIterator[types.Event]]", "Generator[Iterator[types.Event]]"),
)
_WORDS = {
    "aclose": "close",
    "aread": "read",
    "aiter_sse": "iter_sse",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "asynccontextmanager": "contextmanager",
}


def written() -> str:
    """The text of `client.py`."""
    text = (PACKAGE / "aio.py").read_text()
    for old, new in _LINES:
        if old not in text:
            raise SystemExit(f"aio.py has no {old!r} any more; mend the list in {Path(__file__).name}")
        text = text.replace(old, new)
    text = re.sub(r"\b(await|async) ", "", text)
    text = re.sub(r"\bAsync(?=[A-Z])", "", text)
    for old, new in _WORDS.items():
        text = re.sub(rf"\b{old}\b", new, text)
    return _formatted(text)


def _formatted(text: str) -> str:
    ruff = [sys.executable, "-m", "ruff"]
    for arguments in (["check", "--fix", "--select", "I", "--quiet"], ["format", "--quiet"]):
        command = [*ruff, *arguments, "--stdin-filename", str(PACKAGE / "client.py"), "-"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        text = done.stdout
    return text


def main() -> None:
    """Write, or compare."""
    target = PACKAGE / "client.py"
    text = written()
    if "--check" not in sys.argv[1:]:
        target.write_text(text)
    elif target.read_text() != text:
        raise SystemExit("longleaf/client.py is not made of longleaf/aio.py: python scripts/sync_client.py")


if __name__ == "__main__":
    main()
