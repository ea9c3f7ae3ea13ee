"""The token of a Prometheus: it reads the metrics and nothing else; so no operator's key lies there."""

from __future__ import annotations

import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from rag.errors import LongleafError
from rag.principal import Principal
from rag.settings import Settings

METRICS_PATH = "/metrics"
LEAST = 16
"""Characters that a token has at least."""
SCRAPER = Principal("key", "metrics", "metrics", "", operator=True)
"""Whoever shows the token. An operator without a workspace, for requests to `METRICS_PATH` alone."""


class BadMetricsToken(LongleafError):
    """The file of the token can't be used; the message says why."""

    default_code = "bad_metrics_token"


def token_of(settings: Settings) -> str | None:
    """The token, read from its file now; None where none is set. Raises BadMetricsToken."""
    if not settings.metrics_token_file:
        return None
    path = Path(settings.metrics_token_file).expanduser()
    try:
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeError) as error:
        raise BadMetricsToken(
            f"LONGLEAF_METRICS_TOKEN_FILE is {str(path)!r}, which can't be read ({error}); name a file with "
            "a token in it"
        ) from error
    if len(token) < LEAST or not token.isprintable() or " " in token:
        raise BadMetricsToken(
            f"LONGLEAF_METRICS_TOKEN_FILE {str(path)!r} holds {len(token)} characters; write a token of "
            f"{LEAST} or more into it, without spaces: openssl rand -hex 32"
        )
    return token


def make_token(settings: Settings) -> None:
    """Write a token into the file that the settings name, where there is no such file yet.

    The user's group may read it, which is how it gets to a Prometheus of another user. Of several processes
    that start at once one writes it. What can't be written is left to `token_of`, which says so.
    """
    if not settings.metrics_token_file:
        return
    path = Path(settings.metrics_token_file).expanduser()
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with suppress(OSError):
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)  # unlike a rename, it leaves a token that is there already
        finally:
            draft.unlink()


def scraper(settings: Settings, method: str, path: str, given: str | None) -> Principal | None:
    """Who shows `given` as a bearer token, where that is the token and the request is for the metrics."""
    if given is None or path != METRICS_PATH or method not in {"GET", "HEAD"}:
        return None
    try:
        token = token_of(settings)  # each time, so that it may be exchanged while the service runs
    except BadMetricsToken:
        return None
    known = token is not None and hmac.compare_digest(token.encode(), given.encode())
    return SCRAPER if known else None
