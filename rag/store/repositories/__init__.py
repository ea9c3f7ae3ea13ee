"""The only way to the rows of a workspace: one class a noun, each built with (session, scope).

What belongs to another workspace raises NotFound, exactly as what never existed. `Workspaces`, `Users` and
`Credentials` are of the whole store: for operators, and for finding out who asks.
"""

from rag.store.repositories.answers import Answers
from rag.store.repositories.audit import AuditLog
from rag.store.repositories.changes import Changes
from rag.store.repositories.chunks import Chunks
from rag.store.repositories.collections import Collections, check_collection_name
from rag.store.repositories.conversations import Conversations
from rag.store.repositories.credentials import Credentials
from rag.store.repositories.documents import Documents
from rag.store.repositories.feedback import Feedback
from rag.store.repositories.generations import Generations
from rag.store.repositories.jobs import Jobs
from rag.store.repositories.keys import Keys
from rag.store.repositories.layouts import Layouts
from rag.store.repositories.members import Members
from rag.store.repositories.quotas import Quotas
from rag.store.repositories.synced import SyncedFiles
from rag.store.repositories.users import Users
from rag.store.repositories.versions import Versions
from rag.store.repositories.webhooks import Webhooks
from rag.store.repositories.workspaces import Workspaces
from rag.store.scope import DEFAULT_SCOPE, Scope

__all__ = [
    "DEFAULT_SCOPE",
    "Answers",
    "AuditLog",
    "Changes",
    "Chunks",
    "Collections",
    "Conversations",
    "Credentials",
    "Documents",
    "Feedback",
    "Generations",
    "Jobs",
    "Keys",
    "Layouts",
    "Members",
    "Quotas",
    "Scope",
    "SyncedFiles",
    "Users",
    "Versions",
    "Webhooks",
    "Workspaces",
    "check_collection_name",
]
