"""The web page: the files of `api/page/`, revalidated each time, so that an upgrade shows at once."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from api.access import PUBLIC

FOLDER = Path(__file__).parent / "page"

# what the operating system's tables say differs; a script of another type is not run under `nosniff`
for _type, _suffix in (("text/javascript", ".js"), ("text/css", ".css"), ("image/svg+xml", ".svg")):
    mimetypes.add_type(_type, _suffix)


class _Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def install(app: FastAPI, folder: Path = FOLDER) -> None:
    """Serve `index.html` at `/` and the folder `assets` beside it; with ETag, for GET and HEAD."""
    files = _Files(directory=folder, check_dir=False)

    async def index(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    app.add_api_route(
        "/",
        index,
        methods=["GET", "HEAD"],
        include_in_schema=False,
        response_class=Response,
        dependencies=[PUBLIC],
    )
    app.mount("/assets", _Files(directory=folder / "assets", check_dir=False), name="assets")
