"""ZIP containers of documents (Office, OpenDocument, EPUB): parts read within limits, XML kept inert."""

from __future__ import annotations

import io
import lzma
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from lxml import etree

from ingest.errors import ParseError
from ingest.parsers.builder import raise_if_starved

MAX_PART_BYTES = 64 << 20
MAX_TOTAL_BYTES = 512 << 20
# What zipfile raises for a directory that does not fit its parts, beyond BadZipFile.
BROKEN = (ValueError, RuntimeError, LookupError, struct.error, lzma.LZMAError)
_DOCTYPE = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)


@contextmanager
def container_errors(what: str) -> Iterator[None]:
    """Says of a damaged container what it is; lets MemoryError and ParseError pass."""
    try:
        yield
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, zlib.error) as error:
        raise ParseError("corrupt", f"The {what} container is damaged ({error}). Export it again.") from error
    except etree.XMLSyntaxError as error:
        raise_if_starved(error)
        raise ParseError(
            "corrupt", f"The {what} holds XML that does not parse ({error}). Export it again."
        ) from error


class Container:
    """The parts of a container, each read only after its declared size was checked."""

    def __init__(self, file: BinaryIO, what: str) -> None:
        """`what` is the format's name in messages. Raises zipfile.BadZipFile."""
        self._archive = zipfile.ZipFile(file)
        self._infos = {info.filename: info for info in self._archive.infolist()}
        self._what = what
        self._budget = MAX_TOTAL_BYTES

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    def names(self) -> list[str]:
        """The parts' names, in the order of the directory."""
        return list(self._infos)

    def read(self, name: str) -> bytes:
        """The bytes of a part. Raises ParseError `too_large`, `encrypted`."""
        info = self._infos[name]
        if info.flag_bits & 1:
            raise ParseError(
                "encrypted", f"The {self._what} container is encrypted. Save it without a password."
            )
        if info.file_size > min(MAX_PART_BYTES, self._budget):
            raise ParseError(
                "too_large",
                f"{name} unpacks to {info.file_size >> 20} MiB, the limit is {MAX_PART_BYTES >> 20} MiB. "
                "Split the document.",
            )
        try:
            with self._archive.open(info) as part:
                content = part.read(MAX_PART_BYTES + 1)
        except BROKEN as error:
            raise ParseError(
                "corrupt", f"{name} in the {self._what} does not unpack ({error}). Export it again."
            ) from error
        if len(content) > MAX_PART_BYTES:
            raise ParseError(
                "too_large", f"{name} unpacks to more than {MAX_PART_BYTES >> 20} MiB, unlike it says."
            )
        self._budget -= len(content)
        return content

    def xml(self, name: str) -> Any:
        """The root element of a part."""
        return etree.fromstring(self.read(name), safe_parser())

    def slim(self, keep: Callable[[str], bool]) -> BinaryIO:
        """A container in memory with the parts that `keep` wants; all others are there but empty.

        For libraries that load every part: pictures and videos need no memory, sizes are checked before, and
        no XML brings a document type (Office files have none; entities would come from there).
        Raises ParseError `corrupt`, `too_large`, `encrypted`.
        """
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as copy:
            for name in self._infos:
                content = self.read(name) if keep(name) else b""
                if _DOCTYPE.search(content[:65_536].replace(b"\0", b"")):
                    raise ParseError(
                        "corrupt",
                        f"{name} brings a document type of its own, which no {self._what} has.",
                    )
                copy.writestr(name, content)
        target.seek(0)
        return target


def safe_parser(*, huge: bool = False) -> Any:
    """An XML parser that resolves no entity, loads no document type and opens no connection."""
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=huge,
        remove_comments=True,
        remove_pis=True,
    )


def local(element: Any) -> str:
    """An element's name without its namespace; empty for comments, instructions and unresolved entities."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Any, name: str) -> str | None:
    """The value of an attribute, whatever its namespace."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return str(value)
    return None


def inside(folder: str, target: str) -> str:
    """The name of a part that another one in `folder` points to; never leaves the container."""
    path = target if target.startswith("/") else f"{folder}/{target}"
    return posixpath.normpath("/" + path.lstrip("/")).lstrip("/")
