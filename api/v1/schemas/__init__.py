"""Requests of `/v1` as they are validated and documented, one noun a file."""
