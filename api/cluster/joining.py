"""Ray, asked for late, and the cluster that a process joins."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rag.errors import InvalidRequest, Unavailable

NAMESPACE = "longleaf"
"""Of every actor of ours that has a name."""
KNOCK_SECONDS = 2.0
"""How long a head may take to accept a connection."""


def load_ray() -> Any:
    """The module, told to report to nobody. Raises Unavailable (`ray_missing`)."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray  # noqa: PLC0415
    except ImportError as error:
        raise Unavailable(
            "a cluster needs Ray, which is not installed: pip install 'longleaf[ray]'", code="ray_missing"
        ) from error
    return ray


def join(address: str) -> Any:
    """Ray, joined to the cluster at `HOST:PORT` or `auto` for the one that this machine is in.

    Raises InvalidRequest (`bad_cluster_address`), Unavailable (`ray_missing`, `cluster_unreachable`).
    """
    if not address or "://" in address:
        raise InvalidRequest(
            f"the cluster's address {address!r} is not HOST:PORT; give the command on a machine of the "
            "cluster, with the address that `ray start` printed there, or `auto`",
            code="bad_cluster_address",
        )
    ray = load_ray()
    if ray.is_initialized():
        return ray
    try:
        if address != "auto":
            knock(address)  # Ray itself would wait for minutes
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level="ERROR",
            namespace=NAMESPACE,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise Unavailable(
            f"no Ray cluster answers at {address!r} ({error}); start one with `ray start --head`, and give "
            "the command on one of its machines",
            code="cluster_unreachable",
        ) from error
    return ray


def knock(address: str) -> None:
    """Raise OSError where nothing takes connections at `HOST:PORT`, ValueError where it is none."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


@contextmanager
def joined(address: str) -> Iterator[Any]:
    """The same for as long as the context lasts; a process that was in a cluster before stays in it."""
    stays = load_ray().is_initialized()
    ray = join(address)
    try:
        yield ray
    finally:
        if not stays:
            ray.shutdown()
