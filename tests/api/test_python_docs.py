"""The programs in docs/python.md, as they stand there, against a real server; the packages of LangChain and
LlamaIndex run the two retrievers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from api.loaders import Loaders
from api.wiring import Service
from longleaf import Client
from rag.settings import Settings
from tests.api.conftest import LEASE, listening

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
QUESTION = "How long is the notice period?"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, loaders: Loaders) -> Iterator[str]:
    """A running server that holds one document."""
    settings = Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("python"))
    with listening(create_app(settings, Service(settings, loaders))) as port:
        url = f"http://127.0.0.1:{port}"
        with Client(url) as client:
            client.wait(client.upload(LEASE.encode(), filename="lease.md").id)
        yield url


def _run(word: str, **changed: str) -> dict[str, Any]:
    """Names that the program with this word defines, run with some of its text changed."""
    found = [each for each in PROGRAMS if word in each]
    assert len(found) == 1, f"docs/python.md has {len(found)} programs with {word!r}"
    program = found[0]
    for old, new in changed.items():
        assert old in program
        program = program.replace(old, new)
    names: dict[str, Any] = {"__name__": "program"}
    exec(compile(program, "docs/python.md", "exec", dont_inherit=True), names)  # noqa: S102
    return names


def test_the_first_program(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lease.pdf").write_text(LEASE)  # what it is, its content says
    monkeypatch.chdir(tmp_path)
    _run('upload("lease.pdf"', **{"http://127.0.0.1:8000": url})
    assert "fourteen months" in capsys.readouterr().out


def test_the_program_with_events(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LONGLEAF_URL", url)
    _run("ask_stream")
    assert "41,300" in capsys.readouterr().out


def test_a_retriever_of_langchain(url: str) -> None:
    from langchain_core.runnables import RunnableLambda  # noqa: PLC0415

    names = _run("langchain_core")
    with Client(url) as client:
        retriever = names["LongleafRetriever"](client=client, top_k=2)
        chain = retriever | RunnableLambda(lambda documents: documents[0])
        found = chain.invoke(QUESTION)
    start, end = found.metadata["start_char_index"], found.metadata["end_char_index"]
    assert found.page_content == LEASE[start:end]
    assert "fourteen months" in found.page_content


def test_a_retriever_of_llamaindex(url: str) -> None:
    names = _run("llama_index")
    with Client(url) as client:
        found = names["LongleafRetriever"](client, top_k=2).retrieve(QUESTION)
    assert "fourteen months" in found[0].node.get_content()
    assert found[0].node.get_content() == LEASE[found[0].node.start_char_idx : found[0].node.end_char_idx]
