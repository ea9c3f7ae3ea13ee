"""Telling other programs what became of documents: signed messages to addresses that admins name."""
