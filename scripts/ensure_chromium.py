"""Find a Chromium for the browser tests: the system's, playwright's own, or a new one from Debian's package.

Leaves quietly where there is one. Installs only as root, with apt, and tries that once per environment.
Without a Chromium the browser tests are skipped; with LONGLEAF_REQUIRE_BROWSER=1 this program fails instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TRIED = Path(__file__).resolve().parent.parent / ".venv" / ".chromium-tried"


def playwrights_own() -> str | None:
    """Path of the Chromium that playwright downloaded, `None` where it has none."""
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def find() -> str | None:
    """Path of a Chromium on this machine, `None` without one."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    return playwrights_own()


def may_install() -> bool:
    """Whether apt is here and this user is root."""
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def install() -> bool:
    """Install Debian's chromium with apt; returns whether apt succeeded."""
    print("Installing chromium with apt for the browser tests.", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"],
    ):
        try:
            result = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=600, check=False
            )
        except subprocess.TimeoutExpired:
            print(f"{' '.join(command)}: no end after 600 s", file=sys.stderr)
            return False
        if result.returncode:
            print(result.stderr.strip(), file=sys.stderr)
            return False
    return True


def main() -> None:
    """Make sure of a Chromium, or say why there is none."""
    required = os.environ.get("LONGLEAF_REQUIRE_BROWSER") == "1"
    if find():
        return
    if may_install() and (required or not TRIED.exists()):
        TRIED.touch()
        if install() and find():
            return
        reason = "apt could not install it"
    elif may_install():
        reason = f"apt could not install it the last time (remove {TRIED} to try again)"
    else:
        reason = "install the package `chromium`, or run `.venv/bin/playwright install chromium`"
    message = f"No Chromium for the browser tests: {reason}."
    if required:
        sys.exit(message)
    print(f"{message} They are skipped.", flush=True)


if __name__ == "__main__":
    main()
