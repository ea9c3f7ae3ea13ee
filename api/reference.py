"""The API reference at /docs: Swagger UI from an installed package, so that no request leaves the machine."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from api.access import PUBLIC

router = APIRouter(include_in_schema=False)

_PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Longleaf API</title>
  <link rel="icon" href="assets/favicon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
  <div id="reference"></div>
  <script src="docs/swagger-ui-bundle.js"></script>
  <script src="docs/start.js"></script>
</body>
</html>
"""
# The validator is a service of swagger.io: null keeps the page from asking it.
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""
_FILES = frozenset({"swagger-ui.css", "swagger-ui-bundle.js"})


@router.get("/docs", dependencies=[PUBLIC])
async def docs() -> HTMLResponse:
    """The reference page."""
    return HTMLResponse(_PAGE, headers={"Cache-Control": "no-cache"})


@router.get("/docs/{name}", dependencies=[PUBLIC])
async def docs_file(request: Request, name: str) -> Response:
    """A file of the reference page."""
    if name == "start.js":
        return Response(_START, media_type="text/javascript", headers={"Cache-Control": "no-cache"})
    if name not in _FILES:
        raise HTTPException(404)
    with resources.as_file(resources.files("fastapi_swagger") / "resources") as folder:
        return await StaticFiles(directory=folder).get_response(name, request.scope)
