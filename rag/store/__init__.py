"""The relational store: tables, sessions, migrations and the repositories that guard workspaces."""

from rag.store import people as _people  # its tables are the schema's, whoever asks for `tables.Base` first

__all__: list[str] = []
del _people
