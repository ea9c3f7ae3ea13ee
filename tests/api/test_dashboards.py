"""Every query of the dashboards and alerts names figures and labels that a running service shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from api.loaders import Loaders
from rag.settings import Settings
from tests.api.conftest import ready, running, until, upload, wait_for
from tests.api.test_scrape import QUESTION, Scrape

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
BY_PROMETHEUS = {"instance", "job"}
"""Labels that it gives to all that it reads."""


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/longleaf.json").read_text("utf-8"))
    return loaded


def targets() -> Iterator[tuple[str, str, str]]:
    """Panel, query and legend."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "1m")
            yield panel["title"], query, target["legendFormat"]


def queries() -> Iterator[tuple[str, str]]:
    for title, query, _ in targets():
        yield title, query
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def selected(node: Any, by: frozenset[str] = frozenset()) -> Iterator[tuple[str, set[str]]]:
    """Each figure that a query reads, with the labels that the query wants of it."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node.name, {each.name for each in node.matchers.matchers} | by
        return
    if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
        by = frozenset(node.modifier.labels)
    inner = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "vector_selector")]
    for each in [*inner, *getattr(node, "args", [])]:
        if each is not None:
            yield from selected(each, by)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, loaders: Loaders) -> dict[str, set[str]]:
    """The labels of each sample that a service shows after documents, good and bad, and a question."""
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path_factory.mktemp("shown"),
        allowed_hosts="testserver",
        kv_memory_bytes=10_000_000,
    )
    found: dict[str, set[str]] = {"up": set()}  # Prometheus' own
    for client in running(settings, Loaders(embedder=loaders.embedder)):
        ready(client)
        assert wait_for(client, upload(client, "broken.pdf", b"%PDF-1.4 nothing")["id"])["status"] == "failed"
        client.post("/query", json=QUESTION)
        until(lambda: client.get("/readyz").status_code == 200)  # noqa: B023
        for family in Scrape(client).families:
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_query_names_what_is_there(shown: dict[str, set[str]]) -> None:
    unknown = [
        (title, name, labels - shown.get(name, set()))
        for title, query in queries()
        for name, labels in selected(promql_parser.parse(query))
        if name not in shown or labels - shown[name] - BY_PROMETHEUS
    ]
    assert unknown == []


@pytest.mark.parametrize(
    "broken", ["longleaf_nothing", 'longleaf_documents{colour="red"}', "sum by (x) (up)"]
)
def test_a_query_of_something_else_would_be_noticed(shown: dict[str, set[str]], broken: str) -> None:
    ((name, labels),) = selected(promql_parser.parse(broken))
    assert name not in shown or labels - shown[name] - BY_PROMETHEUS


def test_legends_name_labels_that_the_query_keeps() -> None:
    for title, query, legend in targets():
        kept = {label for _, labels in selected(promql_parser.parse(query)) for label in labels}
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= kept | {"instance"}, title


def test_panels_have_places_of_their_own() -> None:
    seen: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert not cells & seen, panel["title"]
        seen |= cells
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])
