"""Search elsewhere: the retriever of an API process whose indexes are held by a deployment of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag.errors import Unavailable

if TYPE_CHECKING:
    from rag.retrieval import Looked, SearchScope

SEARCH_SECONDS = 60.0


class RemoteSearch:
    """As `rag.retrieval.Retriever` for who searches; threads may share it."""

    def __init__(self, handle: Any) -> None:
        """`handle` is the deployment's."""
        self._handle = handle

    def look(self, question: str, scope: SearchScope, top_k: int = 10) -> Looked:
        """As `Retriever.look`, and Unavailable (`search_unavailable`) where no index answers."""
        from ray.exceptions import RayError, RayTaskError  # noqa: PLC0415

        try:
            answer = self._handle.look.remote(question, scope, top_k)
            found: Looked = answer.result(timeout_s=SEARCH_SECONDS)
        except RayTaskError as error:
            raise error.cause from None
        except (RayError, TimeoutError) as error:
            raise Unavailable(
                f"No index answered ({type(error).__name__}); try again in a moment.",
                code="search_unavailable",
            ) from error
        return found
