"""Checks of the work itself: parsers, pictures, the queue, the stored indexes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from api.doctor.finding import Case, Finding, failure, ok, skipped, warning
from ingest.confined import what_is_possible
from ingest.errors import ParseError
from ingest.limits import ParseLimits
from ingest.ocr import find_ocr
from ingest.queue import queue_figures
from ingest.sandbox import parse_document
from rag.index.live import snapshot_folder
from rag.index.snapshot import FORMAT, MANIFEST, read_manifest
from rag.store.repositories import Changes, Collections, Workspaces
from rag.store.repositories.totals import totals
from rag.store.scope import Scope
from rag.store.state import identity_of

WAITING_SECONDS = 600.0
BEHIND = 500
"""Changes that a start reads anew without anybody noticing."""
_SAMPLE = "# A sample\n" + "\nThe mill was let for nine years.\n" * 30_000
"""A megabyte: a parser that has loaded all it needs reads a line in no memory at all."""


def parser(case: Case) -> Finding:
    """Whether a parser starts and reads a document under the limits of the settings."""
    settings = case.settings
    limits = ParseLimits(settings.parse_timeout_seconds, settings.parse_memory_bytes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.md"
        path.write_text(_SAMPLE)
        try:
            text = parse_document(path, path.name, limits).text
        except (ParseError, OSError) as error:
            said = getattr(error, "detail", str(error))
            return failure(
                f"a parser with {settings.parse_memory_bytes:,} bytes and {settings.parse_timeout_seconds:g} "
                f"s does not read a small document: {said}",
                "raise LONGLEAF_PARSE_MEMORY_BYTES (1073741824) and LONGLEAF_PARSE_TIMEOUT_SECONDS (120) to "
                "their defaults; see that the service's user may start Python",
            )
    return ok("a parser reads a document") if text == _SAMPLE else failure(
        "a parser does not give a document's text back", "install the package anew: make run"
    )  # fmt: skip


def parser_limits(_case: Case) -> Finding:
    """Whether a parser is kept from sockets, processes, files and memory."""
    try:
        possible = what_is_possible()
    except OSError as error:
        return failure(str(error), "see that the service's user may start Python")
    if possible:
        return failure(
            f"a parser can {', '.join(possible)} on this machine",
            "use a kernel with seccomp (CONFIG_SECCOMP_FILTER) on x86-64 or arm64, and let the container's "
            "profile allow prctl and setrlimit; else read no documents that you don't trust",
        )
    return ok("a parser can open no socket, start no process, write no file, take no more memory than it may")


def ocr(case: Case) -> Finding:
    """Whether pictures can be read, in the languages that were asked for."""
    settings = case.settings
    if settings.ocr == "off":
        return ok("pictures are not read (LONGLEAF_OCR=off)")
    found = find_ocr(settings.ocr, settings.ocr_languages, settings.ocr_timeout_seconds)
    if found.folder:
        return ok(f"pictures are read in {found.languages}")
    asked = {"ocr", "ocr_languages"} & settings.model_fields_set
    if not asked and "extra" in found.remedy:
        return ok(f"pictures are not read. {found.remedy}")
    return warning(f"pictures are not read in {settings.ocr_languages}", found.remedy)


def jobs(case: Case) -> Finding:
    """Whether documents wait for nobody, belong to dead workers, or have failed."""
    if case.store is None:
        return skipped("there is no store to look into")
    with case.store.read() as session:
        queue, failed = queue_figures(session), totals(session).failed
    if queue.lost:
        return warning(
            f"{queue.lost} jobs belong to workers that are not heard of any more",
            "start the service, or longleaf ingest: whoever reads next takes them up",
        )
    if queue.oldest_seconds > WAITING_SECONDS:
        return warning(
            f"{queue.jobs.get('queued', 0)} jobs are queued, the oldest for "
            f"{queue.oldest_seconds / 60:.0f} minutes",
            "start a service with LONGLEAF_INGEST_WORKERS above 0, or raise it",
        )
    if failed:
        codes = ", ".join(f"{count} {code}" for code, count in sorted(failed.items()))
        return warning(
            f"documents that could not be read: {codes}",
            "GET /documents?status=failed says which and why; POST /documents/{id}/retry once that is mended",
        )
    return ok(f"{queue.jobs.get('done', 0)} jobs done, {queue.jobs.get('queued', 0)} queued")


def indexes(case: Case) -> Finding:
    """Whether stored indexes can be read, are this store's and not far behind its log."""
    if case.store is None:
        return skipped("there is no store to look into")
    seen, wrong = 0, []
    with case.store.read() as session:
        identity = identity_of(session)
        for workspace in Workspaces(session).list():
            scope = Scope(workspace.id)
            for row in Collections(session, scope).list():
                folder = snapshot_folder(case.settings, row.id)
                if not (folder / MANIFEST).exists():
                    continue
                seen += 1
                try:
                    said = read_manifest(folder)
                    if said["format"] != FORMAT:
                        wrong.append(f"{folder} is of another version")
                    elif (said["origin"]["store"], said["origin"]["embedder"]) != (identity, row.embedder):
                        wrong.append(f"{folder} is another store's or embedder's")
                    elif (behind := Changes(session, scope).newest(row.id) - int(said["seq"])) > BEHIND:
                        wrong.append(f"{folder} is {behind:,} changes behind the log")
                except (OSError, ValueError, KeyError, TypeError) as error:
                    wrong.append(f"{folder} can't be read ({error})")
    if wrong:
        return warning(
            "; ".join(wrong),
            "a start makes them anew, and a service that is stopped by SIGTERM stores them; longleaf verify "
            "--repair removes damaged ones",
        )
    return ok(f"{seen} stored indexes are up to date")
