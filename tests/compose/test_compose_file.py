"""The compose file and the image say what they promise; scripts/try-compose shows that it holds."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_data_is_in_named_volumes(compose: dict[str, Any]) -> None:
    used = [volume.split(":")[0] for service in compose["services"].values() for volume in service["volumes"]]
    assert sorted(used) == sorted(compose["volumes"])


def test_every_service_has_a_health_check_and_comes_back(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name


def test_service_waits_for_a_healthy_database(compose: dict[str, Any]) -> None:
    assert compose["services"]["service"]["depends_on"] == {"database": {"condition": "service_healthy"}}


def test_database_is_reached_by_the_service_alone(compose: dict[str, Any]) -> None:
    database = compose["services"]["database"]
    assert "ports" not in database
    assert compose["networks"][database["networks"][0]] == {"internal": True}


def test_service_is_published_on_the_loopback_unless_told_otherwise(compose: dict[str, Any]) -> None:
    assert compose["services"]["service"]["ports"] == [
        "${LONGLEAF_HOST:-127.0.0.1}:${LONGLEAF_PORT:-8000}:8000"
    ]


def test_service_has_no_more_rights_than_it_needs(compose: dict[str, Any], dockerfile: str) -> None:
    service = compose["services"]["service"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    users = re.findall(r"(?m)^USER (\w+)$", dockerfile)
    assert users
    assert users[-1] != "root"


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
