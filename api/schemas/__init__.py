"""Requests and answers of the HTTP API, as they are validated and documented."""

from __future__ import annotations

from api.schemas.answers import Change, Replayed, StoredAnswer
from api.schemas.base import Problem, Request
from api.schemas.collections import (
    Budget,
    Collection,
    CollectionChange,
    CollectionList,
    NewCollection,
    Reembedding,
)
from api.schemas.documents import (
    Accepted,
    Chunk,
    ChunkList,
    Document,
    DocumentChange,
    DocumentError,
    DocumentList,
    DocumentVersion,
    PageText,
    Replacement,
    Status,
    Update,
    Upload,
    VersionList,
)
from api.schemas.operations import Health, Readiness, Version
from api.schemas.questions import (
    Citation,
    Disagreement,
    EvidenceVerdict,
    QueryRequest,
    QueryResponse,
    Receipt,
    SearchStep,
    Turn,
    Usage,
)
from api.schemas.searches import DocumentIds, SearchRequest, SearchResponse, SearchResult

__all__ = [
    "Accepted",
    "Budget",
    "Change",
    "Chunk",
    "ChunkList",
    "Citation",
    "Collection",
    "CollectionChange",
    "CollectionList",
    "Disagreement",
    "Document",
    "DocumentChange",
    "DocumentError",
    "DocumentIds",
    "DocumentList",
    "DocumentVersion",
    "EvidenceVerdict",
    "Health",
    "NewCollection",
    "PageText",
    "Problem",
    "QueryRequest",
    "QueryResponse",
    "Readiness",
    "Receipt",
    "Reembedding",
    "Replacement",
    "Replayed",
    "Request",
    "SearchRequest",
    "SearchResponse",
    "SearchResult",
    "SearchStep",
    "Status",
    "StoredAnswer",
    "Turn",
    "Update",
    "Upload",
    "Usage",
    "Version",
    "VersionList",
]
