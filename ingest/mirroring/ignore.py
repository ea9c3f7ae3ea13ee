"""Which files of a folder are no documents: usual debris, and what its `.longleafignore` files say.

The rules are those of gitignore(5): each folder may have a file of its own, the innermost rule that fits
decides, and what lies in a folder that is left out can't be taken in again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

IGNORE_FILE = ".longleafignore"
LARGEST = 1024 * 1024
"""Bytes of an ignore file that are read; a larger one is no such file."""

DEFAULTS = (
    ".*",
    "~$*",
    "*~",
    "*.tmp",
    "*.temp",
    "*.part",
    "*.partial",
    "*.crdownload",
    "*.download",
    "*.swp",
    "*.lock",
    "*.pyc",
    "__pycache__/",
    "node_modules/",
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "$RECYCLE.BIN/",
    "System Volume Information/",
    "lost+found/",
)
"""Hidden files, and what programs leave beside documents. A rule of the folder's own goes before them."""


class BadRules(ValueError):
    """An ignore file can't be followed; the message says which and why."""


@dataclass(frozen=True)
class Rule:
    """One line: whether it leaves out or takes in again, and which paths it means."""

    leaves_out: bool
    regex: re.Pattern[str]
    exact: bool

    @classmethod
    def of(cls, line: str) -> Rule | None:
        """None for a comment or an empty line. Raises GitIgnorePatternError."""
        pattern = GitIgnoreSpecPattern(line)
        if pattern.include is None or pattern.regex is None:
            return None
        # Made for whole paths of files, the expression is content with a folder above, whose slash this
        # group is. Here every folder is asked about by itself, so it has to end where the path does.
        exact = "ps_d" in pattern.regex.groupindex
        regex = re.compile(rf"(?:{pattern.regex.pattern})\Z") if exact else pattern.regex
        return cls(pattern.include, regex, exact)

    def means(self, path: str, *, is_folder: bool) -> bool:
        """Whether it is about this path, not about a folder above."""
        return self.regex.search(f"{path}/" if is_folder and self.exact else path) is not None


def _rules(lines: Iterable[str], name: str) -> tuple[Rule, ...]:
    found = []
    for number, line in enumerate(lines, 1):
        if line.rstrip() in {"!", "/", "!/"}:  # nothing to git, a fault to the library
            continue
        try:
            rule = Rule.of(line)
        except GitIgnorePatternError as error:
            raise BadRules(f"{name}, line {number}: {line.strip()!r} is no rule ({error})") from error
        if rule is not None:
            found.append(rule)
    return tuple(found)


@dataclass(frozen=True)
class Rules:
    """The rules in force in one folder: `levels` are pairs of a folder's path (`""` or `a/b/`) and its rules,
    outermost first."""

    levels: tuple[tuple[str, tuple[Rule, ...]], ...] = (("", _rules(DEFAULTS, "defaults")),)

    def inside(self, prefix: str, folder: Path) -> Rules:
        """The rules in force in `folder`, whose path is `prefix`, once its ignore file is read.

        Raises BadRules, OSError.
        """
        path = folder / IGNORE_FILE
        try:
            if path.stat().st_size > LARGEST:
                raise BadRules(f"{path} is larger than {LARGEST} bytes")
            raw = path.read_bytes().decode("utf-8-sig", "surrogateescape")
        except FileNotFoundError:
            return self
        lines = [line.removesuffix("\r") for line in raw.split("\n")]
        return Rules((*self.levels, (prefix, _rules(lines, str(path)))))

    def leave_out(self, path: str, *, is_folder: bool) -> bool:
        """Whether a file or folder, by its path from the root, is left out. Those above it are not."""
        for prefix, rules in reversed(self.levels):
            own = path[len(prefix) :]
            for rule in reversed(rules):
                if rule.means(own, is_folder=is_folder):
                    return rule.leaves_out
        return False
