"""Allowances by the minute: never more than there is, a wait that is told is enough, debts are paid off."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rag.rates import MINUTE, Allowance, OwnRates, Standing

REQUESTS = Allowance("key-requests", "key_1", "requests", 6)
TOKENS = Allowance("key-tokens", "key_1", "tokens", 100)
SHARED = Allowance("workspace-requests", "ws_1", "requests", 4)


class Clock:
    """A time that is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _admitted(standings: list[Standing]) -> bool:
    return not any(each.wait for each in standings)


@given(
    st.integers(1, 50),
    st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=120),
)
def test_in_no_stretch_of_time_is_more_let_in_than_one_minute_holds_and_what_flows_in(
    most: int, pauses: list[float]
) -> None:
    clock, allowance = Clock(), Allowance("a", "key_1", "requests", most)
    rates, times = OwnRates(clock), []
    for pause in pauses:
        clock.now += pause
        if _admitted(rates.admit([allowance])):
            times.append(clock.now)
    for first in range(len(times)):
        for last in range(first, len(times)):
            seconds = times[last] - times[first]
            assert last - first + 1 <= most + seconds * most / MINUTE + 0.01


@given(st.lists(st.sampled_from(["ask", "pause", "back"]), max_size=60), st.integers(1, 40))
def test_who_waits_as_long_as_was_told_is_let_in(steps: list[str], most: int) -> None:
    clock, allowance = Clock(), Allowance("a", "key_1", "requests", most)
    rates = OwnRates(clock)
    for step in steps:
        clock.now += {"ask": 0.0, "pause": 3.7, "back": -50.0}[step]
        [standing] = rates.admit([allowance])
        assert 0 <= standing.remaining <= most
        if standing.wait:
            clock.now = max(clock.now, clock.now + 50.0 * steps.count("back")) + standing.wait
            assert _admitted(rates.admit([allowance]))


def test_what_one_allowance_refuses_is_taken_from_none() -> None:
    clock = Clock()
    rates = OwnRates(clock)
    for _ in range(4):
        assert _admitted(rates.admit([REQUESTS, SHARED]))
    refused = rates.admit([REQUESTS, SHARED])
    assert [each.wait > 0 for each in refused] == [False, True]
    assert [each.remaining for each in refused] == [2, 0]
    assert _admitted(rates.admit([REQUESTS]))
    assert _admitted(rates.admit([REQUESTS]))
    assert not _admitted(rates.admit([REQUESTS]))


def test_tokens_are_taken_when_they_are_used_and_a_debt_is_waited_off() -> None:
    clock = Clock()
    rates = OwnRates(clock)
    assert _admitted(rates.admit([REQUESTS, TOKENS]))
    rates.charge([REQUESTS, TOKENS], 250)
    [requests, tokens] = rates.admit([REQUESTS, TOKENS])
    assert (requests.wait, tokens.remaining) == (0, 0)
    assert tokens.wait == 151 * MINUTE / 100
    clock.now += tokens.wait
    assert _admitted(rates.admit([TOKENS]))
    [left] = rates.admit([TOKENS])
    assert (left.remaining, round(left.full_in, 3)) == (1, 59.4)


def test_a_limit_that_is_lowered_holds_at_once_and_subjects_do_not_share() -> None:
    clock = Clock()
    rates = OwnRates(clock)
    rates.admit([REQUESTS])
    lower = Allowance("key-requests", "key_1", "requests", 1)
    assert [_admitted(rates.admit([lower])) for _ in range(2)] == [True, False]
    assert _admitted(rates.admit([Allowance("key-requests", "key_2", "requests", 1)]))


def test_full_buckets_are_forgotten() -> None:
    clock = Clock()
    rates = OwnRates(clock)
    for number in range(10_000):
        rates.admit([Allowance("a", f"key_{number}", "requests", 6)])
    clock.now += MINUTE
    rates.admit([Allowance("a", "key_new", "requests", 6)])
    assert set(rates._buckets) == {("key_new", "requests")}
