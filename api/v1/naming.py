"""Names of models: what each stands for, and which there are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from api.wiring import DEFAULT_COLLECTION, Service
from rag.errors import InvalidRequest, NotFound
from rag.store.repositories import Collections

PREFIX = "longleaf/"
RAW = "longleaf/raw"
EMBEDDER = "longleaf/embedder"


@dataclass(frozen=True)
class Named:
    """A model as `GET /v1/models` lists it."""

    id: str
    created: datetime | None = None
    owner: str = "longleaf"


def collection_of(service: Service, model: str) -> str | None:
    """The collection that a model's name stands for; None for the bare model.

    A collection that is called `raw` or `embedder` has its id for a name. Raises NotFound
    (`model_not_found`), InvalidRequest where an embedding model is asked to write.
    """
    if model == EMBEDDER or ((known := service.embedder.now()) is not None and model == known.name):
        raise InvalidRequest(f"{model!r} makes vectors and writes nothing.", code="model_not_possible")
    if model == RAW or model in _own(service):
        return None
    name = model.removeprefix(PREFIX)
    if name != model:
        with service.db.read() as session:
            collections = Collections(session, service.scope)
            found = collections.find(name)
            found = found or next((row for row in collections.list() if row.id == name), None)
        if found is not None:
            return found.name
        if name == DEFAULT_COLLECTION:
            return name
    raise no_model(model)


def check_embedder(service: Service, model: str) -> str:
    """The embedding model's name. Raises NotFound (`model_not_found`), Unavailable while it is loaded."""
    name = service.embedder.wait().name
    if model not in {EMBEDDER, name}:
        raise no_model(model)
    return name


def no_model(model: str) -> NotFound:
    """The error of a name that stands for nothing."""
    return NotFound(
        f"There is no model {model[:100]!r}; GET /v1/models lists those that there are.",
        code="model_not_found",
    )


def models(service: Service) -> list[Named]:
    """All names, those of collections last."""
    own = [Named(name, owner="model") for name in _own(service)]
    embedder = service.embedder.now()
    embedders = [Named(EMBEDDER), *([Named(embedder.name, owner="model")] if embedder is not None else [])]
    with service.db.read() as session:
        rows = Collections(session, service.scope).list()
    taken = {RAW, EMBEDDER}
    named = [
        Named(PREFIX + (row.name if PREFIX + row.name not in taken else row.id), row.created_at)
        for row in rows
    ]
    return [Named(RAW), *own, *embedders, *named]


def _own(service: Service) -> list[str]:
    """Names of the model that writes: as it calls itself, and as the settings do."""
    engine = service.engine.now()
    names = [engine.name] if engine is not None else []
    setting = service.settings.model
    return names if setting in {"auto", *names} else [*names, setting]
