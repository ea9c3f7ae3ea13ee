"""The router: where prompts go, whose turn it is, and what an engine's answer changes; no cluster is
needed."""

from __future__ import annotations

import random

import pytest

from api.cluster.router import Asked, Router
from api.cluster.router_fair import FairQueue
from api.cluster.router_holdings import Holdings
from api.cluster.router_load import Load, Work, settle
from api.cluster.router_scaling import engines_for
from model.kv.names import block_names

BLOCK = 16


def asked(tokens: list[int], new: int = 0, workspace: str = "w") -> Asked:
    return Asked(workspace, tuple(block_names(tokens, BLOCK, b"", workspace)), len(tokens), new)


def text(number: int, length: int = 160) -> list[int]:
    return [number * 1000 + place for place in range(length)]


def router(engines: int = 2, **options: object) -> Router:
    made = Router(BLOCK, most_waiting=1000, **options)  # type: ignore[arg-type]
    for number in range(engines):
        made.add(f"e{number}", blocks=100)
    return made


def send(made: Router, *requests: Asked) -> list[str]:
    """Where each goes, when each is over before the next comes."""
    went = []
    for request in requests:
        made.ask(request)
        (placed,) = made.place()
        made.read_on(placed.ticket, request.prompt)
        made.end(placed.ticket)
        went.append(placed.engine)
    return went


def test_a_prompt_goes_where_its_beginning_was_read() -> None:
    made = router(4)
    first = send(made, *(asked(text(number)) for number in range(8)))
    again = send(made, *(asked([*text(number), 7, 8, 9]) for number in range(8)))
    assert again == first
    assert len(set(first)) > 1


def test_workspaces_share_no_beginning() -> None:
    made = router(1)
    send(made, asked(text(1), workspace="a"))
    made.ask(asked(text(1), workspace="b"))
    (placed,) = made.place()
    assert placed.cached == 0


def test_waiting_longer_than_reading_again_sends_it_elsewhere() -> None:
    made = router(2)
    (home,) = send(made, asked(text(1)))
    made.ask(asked(text(2, 800)))
    (busy,) = made.place()
    made.ask(asked([*text(1), 1]))
    (placed,) = made.place()
    assert placed.engine != busy.engine
    assert placed.cached == (160 if placed.engine == home else 0)


def test_a_slower_engine_gets_less() -> None:
    made = router(2)
    for name, pace in (("e0", 0.001), ("e1", 0.01)):
        for step in range(1, 30):
            made.learn(name, Work(read=1000 * step, reading_seconds=1000 * pace * step))
    went = []
    for number in range(11):
        made.ask(asked(text(number, 80)))
        went += [placed.engine for placed in made.place()]
    assert went.count("e0") == 10


def test_what_the_engine_lacks_is_forgotten() -> None:
    made = router(1)
    send(made, asked(text(1)))
    made.ask(asked([*text(1), 1]))
    (placed,) = made.place()
    assert placed.cached == 160
    made.reading(placed.ticket, cached=32)
    assert made.engines["e0"].waiting == 161 - 32
    assert made.engines["e0"].holdings.leading(asked(text(1)).names) == 2
    made.read_on(placed.ticket, 161)
    assert made.engines["e0"].holdings.leading(asked(text(1)).names) == 10


def test_an_engine_is_full_and_another_is_not() -> None:
    made = router(2)
    for number in range(20):
        made.ask(asked(text(number, 300)))
    placed = list(made.place())
    assert sorted(each.engine for each in placed) == ["e0"] * 3 + ["e1"] * 3
    assert made.waiting_tokens == 20 * 300
    made.end(placed[0].ticket)
    (more,) = made.place()
    assert more.engine == placed[0].engine


def test_a_longer_prompt_than_is_ever_sent_ahead_goes_to_an_idle_engine() -> None:
    made = router(1)
    made.ask(asked(text(1, 5000)))
    assert len(list(made.place())) == 1


def test_many_who_want_one_engine_do_not_leave_the_others_idle() -> None:
    made = router(2)
    send(made, asked(text(1, 320)))
    for number in range(60):
        made.ask(asked([*text(1, 320), number], new=40))
    assert {placed.engine for placed in made.place()} == {"e0", "e1"}


def test_what_a_lost_engine_had_is_given_back() -> None:
    made = router(2)
    made.ask(asked(text(1)))
    (placed,) = made.place()
    assert made.remove(placed.engine) == [placed]
    made.read_on(placed.ticket, 10)
    made.end(placed.ticket)
    made.ask(asked(text(1)))
    (other,) = made.place()
    assert other.engine != placed.engine
    assert made.remove(other.engine)
    made.ask(asked(text(1)))
    assert list(made.place()) == []


def test_a_request_that_nobody_began_is_found() -> None:
    made = router(1)
    made.ask(asked(text(1)))
    made.ask(asked(text(2)))
    begun, forgotten = made.place(now=5.0)
    made.begun(begun.ticket)
    assert made.stale(before=5.0) == []
    assert made.stale(before=6.0) == [forgotten]


def test_one_who_asks_much_does_not_keep_another_waiting() -> None:
    made = Router(BLOCK, most_waiting=1000, most_requests=1)
    made.add("e0", 100)
    for number in range(50):
        made.ask(asked(text(number), workspace="much"))
    for number in range(5):
        made.ask(asked(text(number), workspace="little"))
    order = []
    while placed := next(made.place(), None):
        order.append(placed.asked.workspace)
        made.read_on(placed.ticket, placed.asked.prompt)
        made.end(placed.ticket)
    assert order[:10].count("little") == 5
    assert len(order) == 55


def test_service_is_shared_by_tokens_not_by_requests() -> None:
    made = Router(BLOCK, most_waiting=10_000, most_requests=1)
    made.add("e0", 10)
    for number in range(60):
        made.ask(asked(text(number, 900), workspace="long"))
        made.ask(asked(text(1000 + number, 90), workspace="short"))
    got = {"long": 0, "short": 0}
    for _ in range(44):
        placed = next(made.place())
        got[placed.asked.workspace] += placed.asked.prompt
        made.read_on(placed.ticket, placed.asked.prompt)
        made.end(placed.ticket)
    assert abs(got["long"] - got["short"]) <= 900


def test_nobody_saves_up_turns_by_being_away() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.add("there", 0, 1.0)
    queue.charge("there", 100.0)
    queue.add("back", 1, 1.0)
    queue.add("back", 2, 1.0)
    queue.add("there", 3, 1.0)
    assert {workspace for workspace, _ in list(queue.order())[:2]} == {"there", "back"}


def test_who_withdraws_is_not_placed() -> None:
    made = router(1)
    first, other = asked(text(1)), asked(text(1))
    made.ask(first)
    made.ask(other)
    assert made.withdraw(first)
    assert not made.withdraw(first)
    assert [placed.asked for placed in made.place()] == [other]


def test_holdings_keep_no_more_than_the_engine() -> None:
    held = Holdings(3)
    held.add([b"a", b"b", b"c", b"d"])
    assert held.leading([b"a", b"b", b"c", b"d"]) == 3
    held.add([b"x"])
    assert held.leading([b"a", b"b", b"c"]) == 2
    held.lack([b"a"])
    assert held.leading([b"a", b"b"]) == 0
    assert len(held) == 2


def test_load_is_never_below_nothing_and_ends_at_nothing() -> None:
    draw, made, open_tickets = random.Random(3), router(3), []
    for _ in range(400):
        made.ask(asked(text(draw.randrange(9), draw.randrange(1, 400)), draw.randrange(30)))
        open_tickets += list(made.place())
        draw.shuffle(open_tickets)
        for placed in open_tickets[: draw.randrange(3)]:
            made.reading(placed.ticket, min(placed.asked.prompt - 1, draw.randrange(0, 400)))
            if draw.random() < 0.8:
                made.read_on(placed.ticket, placed.asked.prompt)
            made.end(placed.ticket, draw.randrange(30))
            open_tickets.remove(placed)
        assert all(min(e.waiting, e.writing, e.requests) >= 0 for e in made.engines.values())
    while open_tickets:
        made.end(open_tickets.pop().ticket)
        open_tickets += list(made.place())
    assert all(not (e.waiting or e.writing or e.requests) for e in made.engines.values())


@pytest.mark.parametrize(
    ("waiting", "now", "wanted"),
    [(0, 4, 1), (1000, 1, 1), (1001, 1, 2), (9000, 2, 8), (1600, 3, 3), (900, 3, 1), (1001, 3, 3)],
)
def test_engines_for_waiting_tokens(waiting: int, now: int, wanted: int) -> None:
    assert engines_for(waiting, 1000, now, 1, 8) == wanted


def test_scaling_does_not_swing_at_a_border() -> None:
    now, counts = 2, []
    for step in range(50):
        now = engines_for(1900 + 200 * (step % 2), 1000, now, 1, 8)
        counts.append(now)
    assert counts[1:] == [3] * 49


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="target is 0"):
        engines_for(1, 0, 1, 1, 2)
    with pytest.raises(ValueError, match="least is 3"):
        engines_for(1, 1, 1, 3, 2)


def test_pace_is_what_was_measured_last() -> None:
    load = Load(Holdings(1))
    load.learn(Work(1000, 10, 4.0, 1.0))
    for step in range(1, 20):
        load.learn(Work(1000 + 100 * step, 10 + step, 4.0 + 0.5 * step, 1.0 + 0.2 * step))
    settle([load])
    assert load.read_seconds == pytest.approx(0.005, rel=0.05)
    assert load.write_seconds == pytest.approx(0.2, rel=0.05)


def test_engines_that_are_nearly_as_fast_share_what_is_cold() -> None:
    made = router(3)
    made.learn("e0", Work(read=1000, reading_seconds=1.0))
    made.learn("e1", Work(read=1000, reading_seconds=1.2))
    went = send(made, *(asked(text(number)) for number in range(60)))
    assert min(went.count(name) for name in ("e0", "e1", "e2")) > 8
