"""Every attack through the whole service: `python -m tests.injection [--mode answer] [--every N]`.

Prints a table by family, and each attack that changed something. Exits with 1 if one did.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from fastapi.testclient import TestClient

from api.app import create_app
from api.wiring import Service
from rag.settings import Settings
from tests.injection.attacks import ATTACKS
from tests.injection.trial import harm, replies


def main() -> int:
    """Print what was tried and what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mode", default="quotes")
    parser.add_argument("--every", type=int, default=1, help="try each Nth only")
    parser.add_argument("--name", default="", help="try those whose name holds this")
    arguments = parser.parse_args()
    tried: Counter[str] = Counter()
    harmed: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="longleaf-") as folder:
        settings = Settings(_env_file=None, data_dir=Path(folder), allowed_hosts="testserver", port=0)
        with TestClient(create_app(settings, Service(settings)), raise_server_exceptions=False) as client:
            *plain, _ = replies(client, None, arguments.mode)
            for attack in [each for each in ATTACKS if arguments.name in each.name][:: arguments.every]:
                *attacked, text = replies(client, attack, arguments.mode)
                tried[attack.family] += 1
                found = harm(attack, (plain[0], plain[1]), (attacked[0], attacked[1]), text)
                if found:
                    harmed[attack.family] += 1
                    print(f"{attack.name}: {'; '.join(found)}"[:600], flush=True)
    print("| family | attacks | changed something |\n|---|---|---|")
    for family, number in tried.items():
        print(f"| {family} | {number} | {harmed[family]} |")
    print(f"| all | {tried.total()} | {harmed.total()} |")
    return 1 if harmed else 0


if __name__ == "__main__":
    sys.exit(main())
