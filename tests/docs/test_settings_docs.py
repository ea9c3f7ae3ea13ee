"""Every setting stands in the documentation, the example file and the compose file, and nothing else does."""

from __future__ import annotations

import re

import pytest
import yaml
from reading import code, read, table

from rag.settings import Settings

NAMES = {f"LONGLEAF_{name.upper()}" for name in Settings.model_fields}
# Where data lies and which database keeps it is decided by the compose file and the image.
FIXED_BY_COMPOSE = {"LONGLEAF_HOST", "LONGLEAF_PORT", "LONGLEAF_DATA_DIR", "LONGLEAF_DATABASE_URL"}


def documented() -> dict[str, list[str]]:
    return {code(row[0]): row for row in table(read("docs/settings.md"), "variable")}


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    assert set(documented()) == NAMES


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_documented_default_is_the_default(name: str) -> None:
    default = Settings.model_fields[name].default
    shown = documented()[f"LONGLEAF_{name.upper()}"][1]
    assert ("" if shown == "empty" else code(shown)) == str(default)


def test_documented_choices_are_the_choices() -> None:
    schema = Settings.model_json_schema()["properties"]
    for name, row in documented().items():
        choices = schema[name.removeprefix("LONGLEAF_").lower()].get("enum", [])
        assert [choice for choice in choices if f"`{choice}`" not in row[2]] == [], name


def test_example_file_names_every_setting_with_a_value_that_is_accepted() -> None:
    lines = dict(re.findall(r"(?m)^#(LONGLEAF_\w+)=(.*)$", read(".env.example")))
    assert set(lines) == NAMES
    values = {name.removeprefix("LONGLEAF_").lower(): value for name, value in lines.items()}
    assert Settings(_env_file=None, **values)


def test_compose_file_passes_every_setting_on() -> None:
    given = yaml.safe_load(read("docker-compose.yml"))["services"]["worker"]["environment"]
    passed = {name: value for name, value in given.items() if name in NAMES - FIXED_BY_COMPOSE}
    assert set(passed) == NAMES - FIXED_BY_COMPOSE
    # some versions of compose take the image's own value away where none is given
    others = {name: value for name, value in passed.items() if value is not None}
    assert all(value.startswith(f"${{{name}:-") for name, value in others.items())
    assert others["LONGLEAF_AUTH"] == "${LONGLEAF_AUTH:-on}"


def test_readme_names_existing_settings() -> None:
    assert {code(row[0]) for row in table(read("README.md"), "setting")} <= NAMES
