"""Where the service is, and who asks."""

from __future__ import annotations

import os

URL = "http://127.0.0.1:8000"


def place(base_url: str | None, api_key: str | None) -> tuple[str, dict[str, str]]:
    """The service's address and the headers of every request; what is not given is the environment's."""
    url = base_url or os.environ.get("LONGLEAF_URL") or URL
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"base_url {url!r} does not begin with http:// or https://")
    key = api_key or os.environ.get("LONGLEAF_API_KEY")
    return url, {"Authorization": f"Bearer {key}"} if key else {}
