"""Keeping what was taken in: backup and restore, checks and repair, clearing up, another embedder."""
