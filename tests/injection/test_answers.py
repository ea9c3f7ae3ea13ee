"""Attacks of every family and place through the whole service. All of them: `python -m tests.injection`."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from tests.injection.attacks import ATTACKS
from tests.injection.trial import harm, replies

EVERY = 16
SAMPLE = [
    *ATTACKS[::EVERY],
    *{attack.carrier: attack for attack in ATTACKS[1::EVERY]}.values(),
    *{attack.family: attack for attack in ATTACKS[2::EVERY]}.values(),
]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["quotes", "answer"])
def test_nothing_changes(sqlite_client: TestClient, mode: str) -> None:
    *plain, _ = replies(sqlite_client, None, mode)
    assert [reply["answer_status"] for reply in plain] == ["answered", "insufficient_evidence"]
    found = {}
    for attack in SAMPLE if mode == "quotes" else SAMPLE[::6]:
        *attacked, text = replies(sqlite_client, attack, mode)
        changed = harm(attack, (plain[0], plain[1]), (attacked[0], attacked[1]), text)
        if changed:
            found[attack.name] = changed
    assert not found
