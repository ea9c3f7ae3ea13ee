"""The compose file and the image say what they promise; scripts/try-compose shows that it holds."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
OURS = {"service", "worker", "gpu", "replica-2", "replica-3"}
"""Services of our own image."""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_data_is_in_named_volumes(compose: dict[str, Any]) -> None:
    used = [volume.split(":")[0] for service in compose["services"].values() for volume in service["volumes"]]
    kept = {name for name in used if not name.startswith("./")}
    assert kept == set(compose["volumes"])
    assert [name for name in used if name.startswith("./") and not (ROOT / name).exists()] == []


def test_every_service_comes_back_and_has_a_health_check(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["restart"] == "unless-stopped", name
        if name != "collector":  # its image has no program that could ask
            assert service["healthcheck"]["test"], name


def test_profiles(compose: dict[str, Any]) -> None:
    found: dict[str, set[str]] = {}
    for name, service in compose["services"].items():
        for profile in service.get("profiles", ["default"]):
            found.setdefault(profile, set()).add(name)
    assert found == {
        "default": {"service", "worker", "database"},
        "gpu": {"gpu"},
        "proxy": {"proxy"},
        "replicas": {"proxy", "replica-2", "replica-3"},
        "observability": {"prometheus", "grafana", "collector"},
    }


def test_who_may_read_the_token_for_metrics(compose: dict[str, Any], dockerfile: str) -> None:
    """It is the group's, which `useradd` numbers as it likes where nobody says."""
    groups = re.findall(r"groupadd --system --gid (\d+) longleaf", dockerfile)
    assert groups == [compose["services"]["prometheus"]["user"].partition(":")[2]]


def test_those_who_use_the_database_wait_until_it_is_healthy(compose: dict[str, Any]) -> None:
    for name in ("service", "worker", "gpu"):
        assert compose["services"][name]["depends_on"] == {"database": {"condition": "service_healthy"}}, name
    for name in ("replica-2", "replica-3"):  # the first one makes the schema
        assert compose["services"][name]["depends_on"] == {"service": {"condition": "service_healthy"}}, name


def test_documents_are_read_by_the_worker_alone(compose: dict[str, Any]) -> None:
    readers = {
        name: service["environment"]["LONGLEAF_INGEST_WORKERS"]
        for name, service in compose["services"].items()
        if name in OURS
    }
    assert readers.pop("worker") == "${LONGLEAF_INGEST_WORKERS:-1}"
    assert set(readers.values()) == {0}


def test_database_is_reached_by_ours_alone(compose: dict[str, Any]) -> None:
    assert "ports" not in compose["services"]["database"]
    assert compose["networks"]["database"] == {"internal": True}
    inside = {name for name, each in compose["services"].items() if "database" in each["networks"]}
    assert inside == {*OURS, "database"}


def test_only_the_proxy_is_published_beyond_the_loopback(compose: dict[str, Any]) -> None:
    loopback = re.compile(r"(\$\{LONGLEAF_HOST:-127\.0\.0\.1\}|127\.0\.0\.1):\$\{\w+:-\d+\}:\d+")
    for name, service in compose["services"].items():
        if name != "proxy":
            assert [port for port in service.get("ports", []) if not loopback.fullmatch(port)] == [], name


def test_nothing_has_more_rights_than_it_needs(compose: dict[str, Any], dockerfile: str) -> None:
    for name, service in compose["services"].items():
        if name == "database":  # its start gives the volume to its user
            continue
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only") is True or name == "grafana", name
    added = {name: each["cap_add"] for name, each in compose["services"].items() if "cap_add" in each}
    assert added == {"proxy": ["NET_BIND_SERVICE"]}
    users = re.findall(r"(?m)^USER (\w+)$", dockerfile)
    assert users
    assert users[-1] != "root"


def test_a_stop_waits_longer_than_the_process_takes(compose: dict[str, Any]) -> None:
    for name in ("service", "replica-2", "gpu", "worker"):
        given = compose["services"][name]["environment"]
        defaults = [
            float(given[f"LONGLEAF_{part}_SECONDS"].partition(":-")[2].rstrip("}"))
            for part in ("DRAIN", "SHUTDOWN")
        ]
        assert float(compose["services"][name]["stop_grace_period"].rstrip("s")) > sum(defaults) + 20, name


def test_the_proxy_knows_every_process(compose: dict[str, Any]) -> None:
    upstreams = compose["services"]["proxy"]["environment"]["LONGLEAF_UPSTREAMS"]
    named = set(re.findall(r"(?<![\w-])-?(\w[\w-]*):8000", upstreams))
    assert named == OURS - {"worker", "gpu"}
    # the GPU's process answers to the name of the one whose place it takes
    assert compose["services"]["gpu"]["networks"]["front"] == {"aliases": ["service"]}


def test_prometheus_looks_at_every_process(compose: dict[str, Any]) -> None:
    (job,) = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8"))["scrape_configs"]
    assert {name for entry in job["dns_sd_configs"] for name in entry["names"]} == OURS - {"gpu"}
    token = job["authorization"]["credentials_file"]
    for name in OURS:
        given = compose["services"][name]["environment"]["LONGLEAF_METRICS_TOKEN_FILE"]
        assert given == f"${{LONGLEAF_METRICS_TOKEN_FILE:-{token}}}", name
    assert "secrets:/secrets:ro" in compose["services"]["prometheus"]["volumes"]


def test_image_and_compose_check_the_same_thing(compose: dict[str, Any], dockerfile: str) -> None:
    (address,) = re.findall(r"urlopen\('([^']+)'", dockerfile)
    assert address in compose["services"]["service"]["healthcheck"]["test"][-1]


def test_what_the_image_copies_is_let_through(dockerfile: str) -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = [name for line in re.findall(r"(?m)^COPY (.*)$", dockerfile) for name in line.split()[:-1]]
    assert {name for name in copied if name != "."} <= kept
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    metadata = {project["project"]["readme"], *project["project"]["license-files"]}
    assert packages | metadata <= kept
    assert [name for name in kept if not (ROOT / name).exists()] == []


def test_nothing_secret_can_reach_the_image() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignore[0] == "*"
    assert [line for line in ignore if line.startswith("!") and ("env" in line or "data" in line)] == []
