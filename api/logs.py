"""Log lines: one for each request, as `key=value` text or JSON, without a word of documents or questions."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Identifier of the request that this thread or task works for; empty outside one."""

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what was given as `extra=` to the logging call."""
    return {key: value for key, value in vars(record).items() if key not in _OWN}


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        line |= fields_of(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        pairs = fields_of(record)
        if request_id.get():
            pairs.setdefault("request_id", request_id.get())
        # the message may quote a path of a request: one line stays one line
        message = record.getMessage().replace("\n", "\\n").replace("\r", "\\r")
        parts = [f"{time} {record.levelname.lower():7} {message}"]
        parts += [f"{key}={json.dumps(value, default=str)}" for key, value in pairs.items()]
        line = " ".join(parts)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(level: str, form: Literal["text", "json"]) -> None:
    """Send every log line of this process to stderr in one form; libraries only from `warning` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("api", "ingest", "rag", "model"):
        logging.getLogger(name).setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
    # uvicorn reports its own start and stop at `info`; the command line says the same better
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.captureWarnings(True)
