"""The schema's history, run by Alembic; `rag.store.migrate` finds it as a package."""
