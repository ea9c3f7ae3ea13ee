"""The relational store: tables, sessions, migrations and the repositories that guard workspaces."""

# their tables are the schema's, whoever asks for `tables.Base` first
from rag.store import audit as _audit
from rag.store import limits as _limits
from rag.store import people as _people

__all__: list[str] = []
del _audit, _limits, _people
