"""The verbs that keep a store, as programs: what one store says, the one made of it says too."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import LEASE
from tests.page.pdf_pages import pdf_of

ROOT = Path(__file__).resolve().parents[2]


class Store:
    """A store of its own, asked through the program alone."""

    def __init__(self, folder: Path, url: str = "") -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGLEAF_")}
        self.environment = kept | {"LONGLEAF_DATA_DIR": str(folder), "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
        if url:
            self.environment["LONGLEAF_DATABASE_URL"] = url

    def run(self, *arguments: str | Path, code: int = 0) -> str:
        """What the program prints; it has to end with `code`."""
        ended = subprocess.run(
            [sys.executable, "-m", "api", *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert ended.returncode == code, ended.stderr
        assert "Traceback" not in ended.stderr
        return ended.stdout if code == 0 else ended.stderr

    def json(self, *arguments: str | Path) -> Any:
        """The same with `--json`."""
        return json.loads(self.run(*arguments, "--json"))

    def found(self) -> list[Any]:
        """Results of searches, with all that is said of them. Each is another process, which may embed the
        question in another number format: of what comes of that, the third digit counts."""
        found = []
        for words in ("yearly rent in guilders", "water wheel"):
            results = self.json("search", words)["results"]
            for each in results:
                each |= {key: pytest.approx(each[key], abs=0.005) for key in ("score", "dense_score")}
            found.append(results)
        return found


@pytest.fixture
def stores(tmp_path: Path, postgres_server: Any) -> Iterator[tuple[Store, Store, Store]]:
    """SQLite, PostgreSQL, SQLite."""
    name = f"kept_{secrets.token_hex(6)}"
    url = postgres_server.create(name, template="template1")
    yield Store(tmp_path / "one"), Store(tmp_path / "two", url), Store(tmp_path / "three")
    postgres_server.drop(name)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_from_sqlite_to_postgresql_and_back(stores: tuple[Store, Store, Store], tmp_path: Path) -> None:
    one, two, three = stores
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / "lease.md").write_text(LEASE)
    (papers / "mill.pdf").write_bytes(pdf_of(["The mill was built in 1650.", "It has two water wheels."]))
    one.run("ingest", papers)
    said = one.found()
    assert "41,300" in said[0][0]["text"]

    kept = tmp_path / "kept"
    assert one.json("backup", kept)["packs_written"] == 2
    assert one.json("backup", kept)["packs_written"] == 0  # nothing has changed since
    assert one.json("verify", "--backup", kept)["problems"] == []
    assert two.json("restore", kept)["documents"] == 2
    assert two.found() == said
    assert "another store" in two.run("restore", kept, code=1)

    archive = tmp_path / "moved.tar"
    two.run("export", archive)
    assert "is there already" in two.run("export", archive, code=1)
    three.run("import", archive)
    assert three.found() == said
    assert three.json("verify")["problems"] == []
    garbage = tmp_path / "three" / "blobs" / "doc_nobodys"
    garbage.write_bytes(b"left by a crash")
    assert [each["kind"] for each in three.json("gc", "--dry-run")["found"]] == ["original"]
    assert garbage.exists()
    three.run("gc")
    assert not garbage.exists()
    assert "--embedder" in three.run("reembed", code=1)
    assert three.json("reembed", "--embedder", "auto")["collections"] == {"default": 0}
    assert three.json("reembed", "--cancel")["dropped"] == {"default": 0}
    assert three.found() == said
    collection = three.json("status")["database"]["collections"][0]
    assert (collection["chunks"], collection["index"]["kind"], collection["reembedding"]) == (2, "flat", None)
    assert collection["index"]["recall_at_10"] == 1.0
    assert collection["sequence"] >= 2
