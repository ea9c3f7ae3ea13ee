"""Which place the settings name for objects: `file:///folder` or `s3://bucket/prefix`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rag.errors import InvalidRequest, Unavailable
from rag.objects.keys import SealKeys
from rag.objects.store import ObjectStore
from rag.secret_file import secret_of
from rag.settings import Settings

SECONDS = 30
"""Longest time that one request of a bucket may take."""
RETRIES = 3


def open_objects(settings: Settings) -> ObjectStore | None:
    """Return the store of `LONGLEAF_OBJECTS`, None where none is set; the place is not asked yet.

    Raises InvalidRequest (`objects_address`) for an address of another form, BadSecret, and Unavailable
    (`objects_missing`, where the extra `s3` is not installed; `seal_key`).
    """
    address = settings.objects
    if not address:
        return None
    try:
        from obstore.store import LocalStore, S3Store  # noqa: PLC0415
    except ImportError as error:
        raise Unavailable(
            "LONGLEAF_OBJECTS needs the extra `s3`: pip install 'longleaf[s3]'", code="objects_missing"
        ) from error
    keys = SealKeys.load(Path(settings.objects_keys_file)) if settings.objects_keys_file else SealKeys()
    parts = urlsplit(address)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        folder = Path(unquote(parts.path))
        return ObjectStore(LocalStore(prefix=folder, mkdir=True), address, keys, folder)
    if parts.scheme == "s3" and parts.netloc:
        return ObjectStore(
            S3Store(parts.netloc, prefix=parts.path.strip("/") or None, **_options(settings)), address, keys
        )
    raise InvalidRequest(
        f"LONGLEAF_OBJECTS is {address!r}; allowed: file:///folder or s3://bucket/prefix",
        code="objects_address",
    )


@lru_cache(maxsize=8)  # one set of connections for all that is asked of a place
def _opened(settings: Settings) -> ObjectStore:
    objects = open_objects(settings)
    if objects is None:
        raise InvalidRequest("LONGLEAF_OBJECTS names no place; set it", code="objects_address")
    return objects


def objects_of(settings: Settings) -> ObjectStore:
    """The store of `LONGLEAF_OBJECTS`, the same one for the same settings. Raises as `open_objects`, and
    InvalidRequest (`objects_address`) where none is set."""
    return _opened(settings)


def _options(settings: Settings) -> dict[str, Any]:
    endpoint = settings.objects_endpoint
    options: dict[str, Any] = {
        "client_options": {"timeout": f"{SECONDS}s", "allow_http": endpoint.startswith("http://")},
        "retry_config": {"max_retries": RETRIES},
        "region": settings.objects_region,
    }
    if endpoint:  # most servers beside Amazon's know buckets by path alone
        options |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
    if settings.objects_access_key:
        secret = secret_of(
            "LONGLEAF_OBJECTS_SECRET_KEY", settings.objects_secret_key, settings.objects_secret_key_file
        )
        options |= {"access_key_id": settings.objects_access_key, "secret_access_key": secret or ""}
    return options
