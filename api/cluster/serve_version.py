"""Versions of the service on one cluster: which command deployed last, and how far a deployment is."""

from __future__ import annotations

import secrets
from typing import Any, Literal

from rag.settings import Settings

APP = "longleaf"
API = "api"
_KEY, _OURS = b"longleaf-version", b"longleaf"

Standing = Literal["coming", "there", "settled", "failed", "gone"]
"""`there`: it answers; `settled`: and nothing of the version before it runs any more."""


def new_version() -> str:
    """A name that no other deployment has."""
    return secrets.token_hex(8)


def version_of(settings: Settings) -> str:
    """The same name for the same settings: what a configuration file deploys, as often as it is read."""
    import hashlib  # noqa: PLC0415

    from api.version import version  # noqa: PLC0415

    told = f"{version()} {settings.model_dump_json()}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def note(version: str) -> None:
    """Say that this version is the cluster's from now on."""
    from ray.experimental.internal_kv import _internal_kv_put  # noqa: PLC0415

    _internal_kv_put(_KEY, version.encode(), overwrite=True, namespace=_OURS)


def noted() -> str:
    """The version that was noted last; "" for none."""
    from ray.experimental.internal_kv import _internal_kv_get  # noqa: PLC0415

    return (_internal_kv_get(_KEY, namespace=_OURS) or b"").decode()


def overview() -> Any | None:
    """What Serve says of the application; None where there is none."""
    from ray import serve  # noqa: PLC0415

    return serve.status().applications.get(APP)


def standing(seen: Any | None) -> tuple[Standing, str]:
    """How far the deployment is, and Serve's own word on it."""
    if seen is None or seen.status == "DELETING":
        return "gone", ""
    if seen.status == "DEPLOY_FAILED":
        failed = {name: each for name, each in seen.deployments.items() if each.status == "DEPLOY_FAILED"}
        # of a traceback the last line, which says what is wrong
        said = [f"{name}: {_last_line(each.message)}" for name, each in failed.items()]
        return "failed", "; ".join(said) or seen.message
    if seen.status != "RUNNING":
        return "coming", ""
    quiet = all(not _changes(each) for each in seen.deployments.values())
    return ("settled" if quiet else "there"), ""


def is_replaced(seen: Any | None) -> bool:
    """Whether processes of the API come or go, some of which may still need what is to end."""
    api = None if seen is None else seen.deployments.get(API)
    return api is not None and _changes(api)


def has_others(seen: Any | None) -> bool:
    """Whether the API answers already, by other processes than one that is starting."""
    api = None if seen is None else seen.deployments.get(API)
    return api is not None and api.replica_states.get("RUNNING", 0) > 0


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _changes(deployment: Any) -> bool:
    others = any(count for state, count in deployment.replica_states.items() if state != "RUNNING")
    return others or bool(deployment.status != "HEALTHY")
