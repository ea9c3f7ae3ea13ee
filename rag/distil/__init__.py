"""Distilling: a small model taught, on a user's own documents, to quote, answer and refuse as asked here."""
