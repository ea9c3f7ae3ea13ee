"""The documentation's site beyond docs/: pages that lie beside the source, and no link that leads out of it.

MkDocs calls these functions by name (`hooks` in mkdocs.yml).
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
BESIDE = ("ARCHITECTURE.md", "CHANGELOG.md")
"""Pages of the repository's first folder that the site shows as well."""
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"(?ms)^```.*?^```")


def on_config(config: Any) -> Any:
    """Give the navigation every decision, in order."""
    names = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    for group in config["nav"]:
        for entries in group.values():
            for entry in entries if isinstance(entries, list) else []:
                if isinstance(entry, dict) and "Decisions" in entry:
                    entry["Decisions"] = ["decisions/README.md", *(f"decisions/{name}" for name in names)]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie beside docs/."""
    for name in BESIDE:
        files.append(File.generated(config, name, content=(ROOT / name).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Leave of a link that leads to no page of the site, such as a source file, its text alone."""
    source: str = page.file.src_uri
    folder = "" if source in BESIDE else posixpath.join("docs", posixpath.dirname(source))

    def replaced(found: re.Match[str]) -> str:
        text, target = found.groups()
        path, hash_, fragment = target.partition("#")
        if re.match(r"[a-z]+:", target) or not path:
            return found.group()
        whole = posixpath.normpath(posixpath.join(folder, path))
        if not whole.startswith("docs/") and whole not in BESIDE:
            return text
        uri = whole.removeprefix("docs/")
        if (ROOT / whole).is_dir():
            uri = posixpath.join(uri, "README.md")
        if files.get_file_from_path(uri) is None:
            return text
        here = posixpath.dirname(source) or "."
        return f"[{text}]({posixpath.relpath(uri, here)}{hash_}{fragment})"

    parts, at = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(replaced, markdown[at : fence.start()]), fence.group()]
        at = fence.end()
    return "".join([*parts, _LINK.sub(replaced, markdown[at:])])
