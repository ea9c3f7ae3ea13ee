"""A real Ray cluster, which the tests of a file share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_nodes import Nodes

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ingest"))  # a collection to upload into


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head and one worker node."""
    started = Nodes(2)
    try:
        yield started
    finally:
        started.close()
