"""Objects by name, in a shared folder or a bucket; what is read is what was stored under that name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import Unavailable
from rag.ids import new_id
from rag.objects.keys import SealKeys
from rag.objects.sealed import FRAME, HEAD, Damaged, at, opened, opened_part, sealed

if TYPE_CHECKING:
    from obstore.store import LocalStore, S3Store

__all__ = ["Damaged", "Listed", "ObjectStore"]

PIECE = 1 << 20
"""Bytes that are read from a file or the store at a time."""
_WHOLE = 8 << 20
"""Bytes up to which an object is sent in one request."""
_TOGETHER = 1000
"""Objects that are removed by one request, the most that S3 takes."""


@dataclass(frozen=True)
class Listed:
    """An object as a listing shows it; `size` is of what is stored."""

    name: str
    size: int
    modified: datetime


class ObjectStore:
    """Objects are written whole or not at all. Threads may share it.

    Every method raises Unavailable (`objects_unavailable`) where the place does not answer or refuses.
    """

    def __init__(
        self, place: LocalStore | S3Store, where: str, keys: SealKeys, folder: Path | None = None
    ) -> None:
        """`where` is what errors call the place; `folder` is where it lies, if it is one."""
        self._place, self._where, self._keys, self._folder = place, where, keys, folder

    def veils(self, told: str) -> list[str]:
        """Names that may stand for `told` in the place, the one for what is stored now first."""
        return self._keys.veils(told)

    def put(self, name: str, content: bytes | Iterable[bytes]) -> None:
        """Store content under a name, in place of what was there; durable when it returns. It is sealed on
        the way."""
        import obstore  # noqa: PLC0415

        pieces = sealed(name, [content] if isinstance(content, bytes) else content, self._keys)
        first = bytearray()
        for piece in pieces:
            first += piece
            if len(first) > _WHOLE:
                break
        else:
            pieces = iter(())
        with self._answering(missing=True):
            if len(first) <= _WHOLE:
                obstore.put(self._place, name, bytes(first))
            else:
                obstore.put(self._place, name, chain([bytes(first)], pieces))
        if self._folder is not None:  # a bucket's server answers for that itself
            try:
                _sync(self._folder, name)
            except OSError as error:
                raise Unavailable(
                    f"{self._where} does not keep what it is given: {error}", code="objects_unavailable"
                ) from error

    def put_file(self, name: str, path: Path) -> None:
        """Store a file's content. Raises OSError where the file cannot be read."""
        with path.open("rb") as stream:
            self.put(name, iter(lambda: stream.read(PIECE), b""))

    def get(self, name: str) -> bytes | None:
        """The content, None where there is no such object. Raises Damaged."""
        pieces = self._pieces(name)
        return None if pieces is None else b"".join(pieces)

    def get_file(self, name: str, path: Path) -> bool:
        """Write an object's content to a file, which is there whole or not at all; False where there is no
        such object.

        Raises Damaged, OSError.
        """
        pieces = self._pieces(name)
        if pieces is None:
            return False
        draft = path.with_name(new_id("got"))
        try:
            with draft.open("wb") as stream:
                for piece in pieces:
                    stream.write(piece)
            os.replace(draft, path)
        except BaseException:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        return True

    def size(self, name: str) -> int | None:
        """Bytes of what is stored under a name, None where there is no such object."""
        import obstore  # noqa: PLC0415

        with self._answering():
            try:
                return int(obstore.head(self._place, name)["size"])
            except FileNotFoundError:
                return None

    def read(self, name: str, start: int, end: int) -> Iterator[bytes] | None:
        """The content from byte `start` to before `end`; no more is asked for than the frames that hold it,
        of a server that gives parts of objects.

        None where there is no such object. Raises Damaged, also where it is shorter.
        """
        first, last = start // FRAME, max(start, end - 1) // FRAME
        frames = None if first == 0 else self._frames(name, first, last)
        if frames is None:
            frames, first = self._pieces(name), 0
        return None if frames is None else _cut(name, frames, first * FRAME, start, end)

    def _frames(self, name: str, first: int, last: int) -> Iterator[bytes] | None:
        """The content of some frames, None where there is no such object or no part of it can be had."""
        import obstore  # noqa: PLC0415
        from obstore.exceptions import GenericError  # noqa: PLC0415

        with self._answering():
            try:
                found = obstore.get(self._place, name, options={"range": (0, HEAD)})
                head, size = bytes(found.bytes()), found.meta["size"]
                if at(first, head) >= size:
                    raise Damaged(f"{name} has no frame {first}")
                wanted = (at(first, head), min(size, at(last + 1, head)))
                stream = obstore.get(self._place, name, options={"range": wanted}).stream(
                    min_chunk_size=PIECE
                )
            except FileNotFoundError:
                return None
            except GenericError as error:
                if "non-partial response" in str(error):
                    return None
                raise
        pieces = (bytes(piece) for piece in stream)
        return self._told(opened_part(name, head, pieces, self._keys, first, last))

    def delete(self, names: Iterable[str]) -> int:
        """Remove objects, those that are not there too; returns how many were named. None is left after."""
        import obstore  # noqa: PLC0415

        named = list(names)
        for first in range(0, len(named), _TOGETHER):
            with self._answering():
                try:
                    obstore.delete(self._place, named[first : first + _TOGETHER])
                except FileNotFoundError:  # a folder says so, and leaves the others
                    for name in named[first : first + _TOGETHER]:
                        with suppress(FileNotFoundError):
                            obstore.delete(self._place, name)
        return len(named)

    def list(self, under: str) -> Iterator[Listed]:
        """The objects whose names begin with `under` and a slash, in no particular order."""
        import obstore  # noqa: PLC0415

        with self._answering():
            for batch in obstore.list(self._place, prefix=under):
                for found in batch:
                    yield Listed(found["path"], found["size"], found["last_modified"])

    def purge(self, under: str) -> int:
        """Remove every object whose name begins with `under` and a slash; returns how many there were."""
        return self.delete([found.name for found in self.list(under)])

    def _pieces(self, name: str) -> Iterator[bytes] | None:
        import obstore  # noqa: PLC0415

        with self._answering():
            try:
                stream = obstore.get(self._place, name).stream(min_chunk_size=PIECE)
            except FileNotFoundError:
                return None
        return self._told(opened(name, (bytes(piece) for piece in stream), self._keys))

    def _told(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        with self._answering():
            yield from pieces

    @contextmanager
    def _answering(self, *, missing: bool = False) -> Iterator[None]:
        """`missing`: what is not found is not the object but the bucket."""
        from obstore.exceptions import BaseError  # noqa: PLC0415

        others = (FileNotFoundError,) if missing else ()
        try:
            yield
        except (BaseError, PermissionError, TimeoutError, ConnectionError, *others) as error:
            said = str(error).partition("\n")[0]
            raise Unavailable(
                f"{self._where} does not do what is asked of it: {said}", code="objects_unavailable"
            ) from error


def _cut(name: str, frames: Iterator[bytes], here: int, start: int, end: int) -> Iterator[bytes]:
    """Bytes `start` to `end` of an object, of which frames come that begin at byte `here`."""
    while here < end and (content := next(frames, None)) is not None:
        if here + len(content) > start:
            yield content[max(0, start - here) : end - here]
        here += len(content)
    if here < end:
        raise Damaged(f"{name} ends at byte {here}, before {end}")


def _sync(folder: Path, name: str) -> None:
    """Force a file of the place, and the folders on the way to it, to the medium."""
    path = folder / name
    for each in (path, *path.parents):
        if each == folder.parent:
            break
        with suppress(FileNotFoundError):  # removed meanwhile
            handle = os.open(each, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
