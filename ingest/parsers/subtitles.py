"""SRT and WebVTT: what is said, in paragraphs that begin with their time; cues that repeat are said once."""

from __future__ import annotations

import re

from ingest.parsers.base import Reading
from ingest.parsers.builder import collapse
from ingest.parsers.joiner import Joiner

_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_CUE = re.compile(rf"^[ \t]*{_TIME}[ \t]*-->[ \t]*{_TIME}[^\n]*\n?", re.MULTILINE)
_MARKUP = re.compile(r"<v(?:\.[^ >]*)? ([^>]{1,80})>|<[^<>\n]{0,80}>|\{\\[^{}\n]{0,80}\}")
_NUMBER_AT_END = re.compile(r"\n\s*[^\n]{0,80}\s*\Z")
_PAUSE = 3.0
_LONG = 600
_STOPS = (".", "!", "?", "…", "。", "？", "！", "؟", "।")


def read(source: str, media_type: str) -> Reading | None:
    """A reading without pages, or None for a file without cues: it is plain text then."""
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    cues = list(_CUE.finditer(source))
    if not cues:
        return None
    joiner = Joiner()
    group: list[str] = []
    began = ended = 0.0
    for number, cue in enumerate(cues):
        last = number + 1 == len(cues)
        said = _said(source[cue.end() : len(source) if last else cues[number + 1].start()], last=last)
        start, end = _seconds(cue.groups()[:4]), _seconds(cue.groups()[4:])
        size = sum(map(len, group))
        if group and (
            start - ended > _PAUSE or size > _LONG or (size > _LONG // 3 and group[-1].endswith(_STOPS))
        ):
            joiner.paragraph(f"[{_clock(began)}] {' '.join(group)}")
            group = []
        if said and (not group or group[-1] != said):
            if not group:
                began = start
            group.append(said)
        ended = end
    joiner.paragraph(f"[{_clock(began)}] {' '.join(group)}" if group else "")
    return Reading(media_type, None, None, iter((joiner.done(),))) if joiner.characters else None


def _is_full(group: list[str]) -> bool:
    """Whether a paragraph is long enough: sooner where a sentence ends."""
    return sum(map(len, group)) > (_LONG // 3 if group[-1].endswith(_STOPS) else _LONG)


def _said(raw: str, *, last: bool) -> str:
    """A cue's text: without markup, and without the next cue's name or number, which stands below it."""
    body, gap, rest = raw.partition("\n\n")
    if not last and not gap:
        body = _NUMBER_AT_END.sub("", raw) if re.search(r"\n\s*\d+\s*\Z", raw) else raw
    elif not last and rest.count("\n") > 1:
        body = raw[: raw.rstrip().rfind("\n")] if not rest.lstrip().startswith(("NOTE", "STYLE")) else body
    return collapse(_MARKUP.sub(lambda m: f"{m.group(1)}: " if m.group(1) else "", body), keep_breaks=False)


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = (part or "0" for part in parts)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
