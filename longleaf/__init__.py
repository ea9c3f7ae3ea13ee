"""Longleaf's client for Python: the HTTP API, typed, with the same methods to call and to await.

from longleaf import Client

with Client("http://127.0.0.1:8000") as longleaf:
    document = longleaf.upload("lease.pdf")
    longleaf.wait(document.id)
    print(longleaf.ask("How long is the notice period?").answer)
"""

from longleaf.aio import AsyncClient
from longleaf.client import Client
from longleaf.errors import ApiError, LongleafError, NotReady, Unreachable
from longleaf.types import (
    Answer,
    Chunk,
    ChunkPage,
    Citation,
    Collection,
    Delta,
    Document,
    DocumentPage,
    Feedback,
    FeedbackPage,
    GivenFeedback,
    Ledger,
    Progress,
    Quote,
    SearchResult,
    StoredAnswer,
    Turn,
    Version,
)

__all__ = [
    "Answer",
    "ApiError",
    "AsyncClient",
    "Chunk",
    "ChunkPage",
    "Citation",
    "Client",
    "Collection",
    "Delta",
    "Document",
    "DocumentPage",
    "Feedback",
    "FeedbackPage",
    "GivenFeedback",
    "Ledger",
    "LongleafError",
    "NotReady",
    "Progress",
    "Quote",
    "SearchResult",
    "StoredAnswer",
    "Turn",
    "Unreachable",
    "Version",
]
