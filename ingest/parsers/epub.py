"""EPUB: the chapters in reading order, each read as HTML. Nothing that a chapter names is fetched."""

from __future__ import annotations

import posixpath
import re
from typing import Any
from urllib.parse import unquote

from ingest.errors import ParseError
from ingest.parsers import html
from ingest.parsers.base import Reading
from ingest.parsers.builder import collapse
from ingest.parsers.containers import Container, attribute, container_errors, inside, local
from ingest.parsers.joiner import Joiner
from ingest.parsers.source import Context, Source

# IDPF and Adobe hide fonts only, which are not read.
_FONT_HIDING = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_BOX = "META-INF/container.xml"


def read(source: Source, context: Context) -> Reading:
    """A reading of a book without pages. Raises ParseError: `corrupt`, `too_large`, `encrypted`."""
    with container_errors("EPUB"), source.open() as file:
        container = Container(file, "EPUB")
        package = _package(container)
        root = container.xml(package)
        title = _title(root)
        locked = _locked(container)
        joiner = Joiner()
        for name in _spine(root, posixpath.dirname(package)):
            if name in locked:
                raise ParseError(
                    "encrypted", "The book is locked by its seller (DRM). Upload a copy without that."
                )
            if name not in container:
                continue
            try:
                chapter = html.read(container.read(name))
            except ParseError as error:
                if error.code in ("empty", "corrupt"):
                    continue
                raise
            for page in chapter.pages:
                joiner.page(page)
            if joiner.characters > context.max_characters:
                raise ParseError("too_large", f"The book has over {context.max_characters} characters.")
    return Reading("application/epub+zip", title, None, iter((joiner.done(),)))


def _package(container: Container) -> str:
    for element in container.xml(_BOX).iter():
        if local(element) == "rootfile":
            name = inside("", unquote(attribute(element, "full-path") or ""))
            if name in container:
                return name
    raise ParseError("corrupt", "The EPUB names no package document. Export it again.")


def _spine(root: Any, folder: str) -> list[str]:
    """The parts of the reading order; of the manifest's order where there is none."""
    manifest: dict[str, str] = {}
    order: list[str] = []
    for element in root.iter():
        if local(element) == "item" and re.search("html", attribute(element, "media-type") or ""):
            href = unquote((attribute(element, "href") or "").partition("#")[0])
            manifest[attribute(element, "id") or href] = inside(folder, href)
        elif local(element) == "itemref":
            order.append(attribute(element, "idref") or "")
    listed = [manifest[one] for one in order if one in manifest]
    return list(dict.fromkeys(listed or manifest.values()))


def _title(root: Any) -> str | None:
    for element in root.iter():
        if local(element) == "title" and element.text:
            return collapse(element.text, keep_breaks=False)[:300] or None
    return None


def _locked(container: Container) -> frozenset[str]:
    """The parts that are encrypted by something else than the hiding of fonts."""
    name = "META-INF/encryption.xml"
    if name not in container:
        return frozenset()
    found: set[str] = set()
    for data in container.xml(name).iter():
        if local(data) != "EncryptedData":
            continue
        methods = [attribute(one, "Algorithm") for one in data.iter() if local(one) == "EncryptionMethod"]
        if not all(method in _FONT_HIDING for method in methods):
            found |= {
                inside("", unquote(attribute(one, "URI") or ""))
                for one in data.iter()
                if local(one) == "CipherReference"
            }
    return frozenset(found)
