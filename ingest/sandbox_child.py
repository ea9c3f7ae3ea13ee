"""The program that reads one document, or draws a page of it, and writes it to a pipe.

Run in a fork of `fork_server.py` alone.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def main(specification: str, parent: int) -> None:
    """`specification`: JSON with path, filename, memory_bytes, seconds, max_pages, max_characters, ocr, and
    helper_bytes where a second process shall read along; for a page instead of the text `page` with number,
    width, text, start, end (no width: find the passage).

    `parent` is the process with which this one ends.
    """
    wanted: dict[str, Any] = json.loads(specification)
    from ingest import confine  # noqa: PLC0415  # limits come before anything else is loaded

    confine.die_with_parent(parent)
    helper = _forked_helper(wanted) if wanted.get("helper_bytes") else None
    confine.limit_resources(int(wanted["memory_bytes"]), int(wanted["seconds"]) + 1)
    confine.forbid_system_calls()

    from ingest.errors import ParseError  # noqa: PLC0415
    from ingest.wire import FrameWriter  # noqa: PLC0415

    # Libraries may print: what they print must not come between the frames.
    pipe = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)
    writer = FrameWriter(pipe)
    try:
        _send(writer, wanted, helper)
    except ParseError as error:
        writer.error(error.code, error.detail)
    except MemoryError:
        writer.error("out_of_memory", "")
    except RecursionError:
        writer.error("corrupt", "The document is nested deeper than any reader goes. Export it again.")
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:
        writer.error("corrupt", f"The document does not parse ({type(error).__name__}). Export it again.")
    pipe.flush()
    if helper is not None:
        helper.end()
    # Finalisers of C libraries are not worth a crash after the work is done.
    os._exit(0)


def _forked_helper(wanted: dict[str, Any]) -> Any:
    from ingest.parsers.pdf_helper import fork_helper  # noqa: PLC0415

    return fork_helper(
        Path(wanted["path"]),
        memory_bytes=int(wanted["helper_bytes"]),
        seconds=int(wanted["seconds"]) + 1,
        max_pages=int(wanted["max_pages"]),
    )


def _send(writer: Any, wanted: dict[str, Any], helper: Any) -> None:
    if wanted.get("page"):
        _send_page(writer, wanted)
    else:
        _send_document(writer, wanted, helper)
    writer.end()


def _send_document(writer: Any, wanted: dict[str, Any], helper: Any) -> None:
    from ingest.ocr import Ocr  # noqa: PLC0415
    from ingest.parsers.reading import open_reading  # noqa: PLC0415

    reading = open_reading(
        Path(wanted["path"]),
        str(wanted["filename"]),
        max_pages=int(wanted["max_pages"]),
        max_characters=int(wanted["max_characters"]),
        ocr=Ocr(**wanted["ocr"]),
        on_ocr=writer.pictures,
        helper=helper,
    )
    writer.header(reading.media_type, reading.title, reading.pages_total)
    for page in reading.pages:
        writer.page(page)


def _send_page(writer: Any, wanted: dict[str, Any]) -> None:
    from ingest.ocr import Ocr  # noqa: PLC0415
    from ingest.parsers import drawing  # noqa: PLC0415
    from ingest.parsers.placing import Passage  # noqa: PLC0415
    from ingest.parsers.reading import context_of  # noqa: PLC0415
    from ingest.parsers.source import Source  # noqa: PLC0415

    source, page = Source(str(wanted["filename"]), Path(wanted["path"])), wanted["page"]
    if page["width"]:
        drawn = drawing.draw(source, page["number"], page["width"])
    else:
        passage = Passage(page["text"], page["start"], page["end"])
        context = context_of(
            int(wanted["max_pages"]), int(wanted["max_characters"]), Ocr(**wanted["ocr"]), writer.pictures
        )
        drawn = drawing.find(source, page["number"], passage, context)
    writer.drawn(drawn.width, drawn.height, drawn.boxes, drawn.picture)
