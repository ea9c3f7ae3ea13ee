"""docs/api.md against the application's own schema, and its error codes against the source."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reading import ROOT, code, read, table, tables

from api import schemas
from api.app import create_app
from ingest.errors import PARSE_CODES
from rag.settings import Settings

METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def openapi(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The schema; the application is made and not started."""
    settings = Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("data"))
    return create_app(settings).openapi()


def routes(openapi: dict[str, Any]) -> set[str]:
    return {
        f"{method.upper()} {path}"
        for path, item in openapi["paths"].items()
        for method in METHODS & set(item)
    }


@pytest.mark.parametrize("page", ["docs/api.md", "README.md"])
def test_every_route_is_documented_and_every_documented_one_exists(
    openapi: dict[str, Any], page: str
) -> None:
    assert {code(row[0]) for row in table(read(page), "route")} == routes(openapi)


def test_documented_statuses_are_in_the_schema(openapi: dict[str, Any]) -> None:
    for row in table(read("docs/api.md"), "route"):
        method, path = code(row[0]).split()
        answers = openapi["paths"][path][method.lower()]["responses"]
        assert set(re.findall(r"\b\d{3}\b", row[2])) <= set(answers), row[0]


def test_query_parameters_are_documented(openapi: dict[str, Any]) -> None:
    text = read("docs/api.md")
    for path, item in openapi["paths"].items():
        for method in METHODS & set(item):
            for parameter in item[method].get("parameters", []):
                if parameter["in"] == "query":
                    assert f"`{parameter['name']}`" in text, (method, path, parameter["name"])


def test_fields_of_the_upload_form(openapi: dict[str, Any]) -> None:
    form = openapi["paths"]["/documents"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    section = read("docs/api.md").split("## Upload")[1].split("\n## ")[0]
    assert {code(row[0]) for row in table(section, "field")} == set(form["properties"])


def test_fields_of_a_question_and_its_answer() -> None:
    section = read("docs/api.md").split("## Question")[1].split("\n## ")[0]
    asked = {code(row[0]): code(row[1]) for row in table(section, "field")}
    answered = {code(row[0]) for row in table(section.split("The answer:")[1], "field")}
    assert set(asked) == set(schemas.QueryRequest.model_fields)
    assert answered == set(schemas.QueryResponse.model_fields)
    for name, field in schemas.QueryRequest.model_fields.items():
        if asked[name] not in {"", "setting", "default"}:
            assert json.loads(asked[name]) == field.default, name


def test_fields_of_a_search() -> None:
    section = read("docs/api.md").split("## Search")[1].split("\n## ")[0]
    for name in schemas.SearchRequest.model_fields:
        assert f"`{name}`" in section


def test_codes_of_failed_documents() -> None:
    assert {code(row[0]) for row in table(read("docs/api.md"), "code")} == PARSE_CODES | {
        "file_missing",
        "file_damaged",
    }


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for package in ("api", "rag", "ingest"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def raised_codes() -> dict[str, Path]:
    """Codes given as `code="…"` to an error, or by position to a problem; with the file of each."""
    found: dict[str, Path] = {}
    for path, module in sources():
        for node in ast.walk(module):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            if name == "problem":
                given += node.args[1:2]
            for value in given:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    found[value.value] = path
    return found


def written_codes() -> set[str]:
    """Codes of the API, under `/v1` too, and of the commands that keep documents."""
    pages = (read("docs/api.md"), read("docs/clients.md"), read("docs/documents.md"))
    return {code(row[0]) for page in pages for row in tables(page, "code")}


def test_every_error_code_is_documented() -> None:
    written = written_codes()
    missing = {
        name: str(path.relative_to(ROOT)) for name, path in raised_codes().items() if name not in written
    }
    assert missing == {}


def test_every_documented_error_code_is_in_the_source() -> None:
    literals = {
        node.value
        for _, module in sources()
        for node in ast.walk(module)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    # the one whose name is made from HTTP's own phrase
    written = written_codes() - {"unsupported_media_type"}
    assert written - literals == set()
