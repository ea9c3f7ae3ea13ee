"""What a process does and holds at this moment: for operators."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api import operating, schemas
from api.access import Operates

router = APIRouter(tags=["operations"])


@router.get("/operations", response_model=schemas.Operations, summary="What is going on")
def operations(service: Operates, response: Response) -> schemas.Operations:
    """Parts, queue, store, index, disk and engine of the process that answers, and of its store. The figures
    are those of `/metrics`: numbers without a name of anybody's anything."""
    response.headers["Cache-Control"] = "no-store"
    return operating.operations(service)
