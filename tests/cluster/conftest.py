"""A real Ray cluster, which the tests of a file share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ray_nodes import Nodes


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head and one worker node."""
    started = Nodes(2)
    try:
        yield started
    finally:
        started.close()
