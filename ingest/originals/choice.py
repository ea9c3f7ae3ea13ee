"""Which place the settings name for originals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.originals.folder import FolderOriginals
from ingest.originals.port import Originals
from rag.errors import InvalidRequest
from rag.settings import Settings
from rag.store.session import Database
from rag.store.state import identity_of

if TYPE_CHECKING:
    from ingest.originals.shared import SharedOriginals


def originals_of(db: Database, settings: Settings) -> Originals:
    """The originals of the store `db`. Raises as `shared_originals`."""
    if settings.originals == "folder":
        return FolderOriginals(db, settings)
    with db.read() as session:
        return shared_originals(db, settings, identity_of(session))


def shared_originals(db: Database, settings: Settings, store: str) -> SharedOriginals:
    """Those in the shared place of the store with this identity. Raises as `rag.objects.place.objects_of`."""
    from ingest.originals.shared import SharedOriginals  # noqa: PLC0415
    from rag.objects.place import objects_of  # noqa: PLC0415

    return SharedOriginals(db, settings, objects_of(settings), store)


def check_place(settings: Settings) -> None:
    """Raise InvalidRequest (`objects_address`) where something is to be kept in a place that is not named."""
    needs = {
        "LONGLEAF_ORIGINALS is objects": settings.originals == "objects",
        f"LONGLEAF_KV_SHARED_BYTES is {settings.kv_shared_bytes}": settings.kv_shared_bytes > 0,
    }
    for what, needed in needs.items():
        if needed and not settings.objects:
            raise InvalidRequest(
                f"{what}, and LONGLEAF_OBJECTS names no place; set it", code="objects_address"
            )
