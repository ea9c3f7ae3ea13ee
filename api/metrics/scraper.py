"""The token of a Prometheus: it reads the metrics and nothing else; so no operator's key lies there."""

from __future__ import annotations

import hmac
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
