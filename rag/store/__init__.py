"""The relational store: tables, sessions, migrations and the repositories that guard workspaces."""
