"""Hours of random faults on a simulated clock leave no document stuck; `make soak` simulates days."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.faults.day import simulate


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_nothing_is_stuck_after_hours_of_faults(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if kind == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        (tmp_path / "longleaf.db").write_bytes(template.read_bytes())
        url = f"sqlite:///{tmp_path / 'longleaf.db'}"
    else:
        url = request.getfixturevalue("postgres_server").create(f"day_{secrets.token_hex(6)}")
    day = simulate(url, tmp_path, hours=2, seed=3)
    assert day.stuck == []
    assert day.wrong == []
    assert day.faults.total() > 30
    assert day.documents > 20
