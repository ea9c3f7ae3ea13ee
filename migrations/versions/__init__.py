"""One file a schema change, in order of their numbers."""
