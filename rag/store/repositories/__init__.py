"""The only way to the rows of a workspace: one class a noun, each built with (session, scope).

What belongs to another workspace raises NotFound, exactly as what never existed.
"""

from rag.store.repositories.answers import Answers
from rag.store.repositories.changes import Changes
from rag.store.repositories.chunks import Chunks
from rag.store.repositories.collections import Collections
from rag.store.repositories.documents import Documents
from rag.store.repositories.generations import Generations
from rag.store.repositories.jobs import Jobs
from rag.store.repositories.synced import SyncedFiles
from rag.store.repositories.versions import Versions
from rag.store.scope import DEFAULT_SCOPE, Scope

__all__ = [
    "DEFAULT_SCOPE",
    "Answers",
    "Changes",
    "Chunks",
    "Collections",
    "Documents",
    "Generations",
    "Jobs",
    "Scope",
    "SyncedFiles",
    "Versions",
]
