"""The page's own parser of server-sent events, in the browser that runs it."""

from __future__ import annotations

import pytest
from page_support import Opened

pytestmark = pytest.mark.browser

STREAM = (
    "\ufeff: heartbeat\n\n"
    'event: context\ndata: {"title": "Größe — कहानी — เรื่อง 🌲"}\n\n'
    "data: two\r\ndata: lines\r\nid: 7\r\nretry: 10\r\n\r\n"
    "event:delta\rdata:no space\r\r"
    "event: without data\n\n"
    "data\n\n"
    "data:  one space stays\nunknown: field\n\n"
    "event: done\ndata: {}\n\n"
    "event: cut\ndata: never finished\n"
)
EVENTS = [
    ["context", '{"title": "Größe — कहानी — เรื่อง 🌲"}'],
    ["message", "two\nlines"],
    ["delta", "no space"],
    ["message", ""],
    ["message", " one space stays"],
    ["done", "{}"],
]

RUN = """async ([bytes, cuts]) => {
  const { EventParser } = await import("/assets/sse.js");
  const all = new Uint8Array(bytes);
  return cuts.map((places) => {
    const parser = new EventParser();
    const found = [];
    let from = 0;
    for (const to of [...places, all.length]) { found.push(...parser.push(all.slice(from, to))); from = to; }
    return found.map(({ type, data }) => [type, data]);
  });
}"""


def test_events_are_the_same_however_the_bytes_are_cut(open_page: Opened) -> None:
    data = list(STREAM.encode())
    size = len(data)
    cuts = [[], *([at] for at in range(size + 1)), *([at, at + 1] for at in range(size)), list(range(size))]
    cuts += [list(range(0, size, step)) for step in (2, 3, 5, 7)]
    for cut, events in zip(cuts, open_page().evaluate(RUN, [data, cuts]), strict=True):
        assert events == EVENTS, cut


RESPONSE = """async (end) => {
  const { eventsOf } = await import("/assets/sse.js");
  let cancelled = false;
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode("data: 1\\n\\ndata: 2\\n\\n"));
      if (end) controller.close();
    },
    cancel() { cancelled = true; },
  });
  const seen = [];
  for await (const { data } of eventsOf({ body })) { seen.push(data); if (!end && data === "1") break; }
  return [seen, cancelled];
}"""


@pytest.mark.parametrize(("end", "seen"), [(True, ["1", "2"]), (False, ["1"])])
def test_leaving_the_loop_cancels_the_body(open_page: Opened, end: bool, seen: list[str]) -> None:
    assert open_page().evaluate(RESPONSE, end) == [seen, not end]
