"""Pages as pictures, and where on them a passage stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from api import schemas
from api.access import Reads
from api.fields import document_id
from api.routes.shared import OF_DOCUMENTS, original_found, page_of, problems
from api.wiring import Service
from ingest.errors import ParseError
from ingest.limits import ParseLimits, limits_of
from ingest.originals.choice import originals_of
from ingest.page_pictures import DRAWN, MEDIA_TYPE, PagePicture, draw_page, find_on_page
from ingest.parsers.placing import Passage
from rag.errors import NotFound
from rag.store.records import DocumentRow, PageRow
from rag.store.repositories import Documents, Versions

router = APIRouter(prefix="/documents", tags=["documents"])

_NO_PICTURE = (
    "There is no such document, it has no such page (`page_not_found`), or none that can be drawn: it is "
    "neither a PDF nor a picture, or its file does not allow it (`no_picture`)."
)


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A page that can be drawn: of which document and bytes, with its text."""

    row: DocumentRow
    page: PageRow
    text: str
    generation: int
    sha256: str


@router.get(
    "/{id}/pages/{number}/picture",
    summary="See a page",
    response_class=Response,
    responses={
        200: {
            "description": "The page as it looks, in WebP.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        304: {"description": "It is the one that `If-None-Match` names."},
        **problems(s404=_NO_PICTURE),
    },
)
def picture(
    service: Reads,
    id: str,
    number: int,
    width: Annotated[
        int, Query(ge=100, le=2400, description="Pixels from left to right; fewer where the page is long.")
    ] = 1200,
    known: Annotated[str | None, Header(alias="If-None-Match", include_in_schema=False)] = None,
) -> Response:
    """A page of a PDF, or of a picture that was uploaded, drawn within limits in a process of its own."""
    sheet = _sheet(service, id, number)
    tag = f'"{sheet.sha256[:32]}-{number}-{width}"'
    headers = {**OF_DOCUMENTS, "ETag": tag}
    if known is not None and tag in (each.strip().removeprefix("W/") for each in known.split(",")):
        return Response(status_code=304, headers=headers)
    drawn = _drawn(
        service, sheet, lambda path, limits: draw_page(path, sheet.row.filename, number, width, limits)
    )
    return Response(drawn.content, media_type=MEDIA_TYPE, headers=headers)


@router.get(
    "/{id}/pages/{number}/boxes",
    response_model=schemas.PageBoxes,
    summary="Point out a passage",
    responses=problems(s404=_NO_PICTURE),
)
def boxes(
    service: Reads,
    id: str,
    number: int,
    start: Annotated[int, Query(ge=0, le=2**53, description="The passage's first code point.")],
    end: Annotated[int, Query(ge=0, le=2**53, description="After its last code point.")],
) -> schemas.PageBoxes:
    """Where a passage of the canonical text, or what of it is on this page, stands on the page's picture.

    No boxes where it is not to be seen there: in the text of a file that is attached, in what the page's file
    spells otherwise than it shows, or on a scan where there is no OCR.
    """
    sheet = _sheet(service, id, number)
    first, last = (min(max(at, sheet.page.start), sheet.page.end) - sheet.page.start for at in (start, end))
    passage = Passage(sheet.text, first, max(first, last))
    found = _drawn(
        service,
        sheet,
        lambda path, limits: find_on_page(path, sheet.row.filename, number, passage, limits),
    )
    return schemas.PageBoxes(
        number=number,
        width=found.width,
        height=found.height,
        boxes=[schemas.PageBox(**box._asdict()) for box in found.boxes],
    )


def _sheet(service: Service, identity: str, number: int) -> _Sheet:
    """Raises NotFound (`document_not_found`, `page_not_found`, `no_picture`)."""
    with service.db.read() as session:
        documents, versions = Documents(session, service.scope), Versions(session, service.scope)
        row = documents.get(document_id(identity))
        page = page_of(documents, row, number)
        if row.media_type not in DRAWN:
            raise NotFound(
                f"Pages of {row.media_type} are not drawn, only those of PDF files and pictures; read "
                f"/documents/{row.id}/pages/{number}.",
                code="no_picture",
            )
        version = versions.get(row.id, versions.shown(row.id))
        text = documents.text_slices(row.id, [(page.start, page.end)])[0]
    return _Sheet(row, page, text, version.generation, version.sha256)


def _drawn(service: Service, sheet: _Sheet, work: Callable[[Path, ParseLimits], PagePicture]) -> PagePicture:
    """What a child makes of the page's file. Raises NotFound (`no_picture`, `content_not_found`)."""
    settings = service.settings
    originals = originals_of(service.db, settings)
    try:
        with original_found(sheet.row.id, originals), originals.open(sheet.row.id, sheet.generation) as path:
            return work(path, limits_of(settings))
    except ParseError as error:
        raise NotFound(error.detail, code="no_picture") from error
