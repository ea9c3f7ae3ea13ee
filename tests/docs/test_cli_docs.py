"""docs/cli.md against the command itself: every command, argument and option, and no other."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer.main
from reading import code, read, tables

from api.cli import app


def commands() -> dict[str, Any]:
    """The command's sub-commands by name; those of a group as "group name"."""
    group: Any = typer.main.get_command(app)
    found = dict(group.commands)
    for name, command in group.commands.items():
        found |= {f"{name} {inner}": each for inner, each in getattr(command, "commands", {}).items()}
    return found


def options_of(command: Any) -> set[str]:
    return {
        name
        for parameter in command.params
        if parameter.param_type_name == "option" and not parameter.hidden
        for name in [*parameter.opts, *parameter.secondary_opts]
        if name.startswith("--") and name != "--help"
    }


def section(name: str) -> str:
    parts = re.split(r"(?m)^## ", read("docs/cli.md"))
    found = [part for part in parts if re.match(rf"`longleaf {name}( [^a-z`]+)?`", part)]
    assert len(found) == 1, f"docs/cli.md has {len(found)} sections for {name}"
    return found[0]


def test_every_command_is_documented_and_every_documented_one_exists() -> None:
    documented = re.findall(r"(?m)^## `longleaf ([a-z -]*[a-z])", read("docs/cli.md"))
    assert sorted(documented) == sorted(commands())


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_option_is_documented_and_every_documented_one_exists(name: str) -> None:
    rows = tables(section(name), "option")
    documented = {option for row in rows for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", code(row[0]))}
    assert documented == options_of(commands()[name])


def test_options_of_the_command_itself() -> None:
    group: Any = typer.main.get_command(app)
    opening = read("docs/cli.md").split("\n## ")[0]
    rows = tables(opening, "option")
    documented = {option for row in rows for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", code(row[0]))}
    assert documented == options_of(group)


def test_readme_names_existing_commands() -> None:
    block = "\n".join(re.findall(r"(?ms)^```sh\n(.*?)^```", read("README.md")))
    named = set(re.findall(r"(?m)^(?:\.venv/bin/)?longleaf ([a-z-]+)", block))
    assert named
    assert named <= set(commands())
