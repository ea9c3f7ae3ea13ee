"""A running installation is hurt for a short while on each database; `make soak` does it for an hour."""

from __future__ import annotations

import pytest

from tests.faults.__main__ import Run

SEED = 7


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_no_fault_breaks_a_promise(database: str) -> None:
    run = Run(database, SEED)
    run.go(20)
    assert run.violations == []
    assert run.struck.total() >= 20
    assert len(run.struck) >= 8, f"only {sorted(run.struck)} struck"
