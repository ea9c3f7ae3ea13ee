"""What the page makes of streams that no server can be asked to send at will: every event, errors, breaks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from page_support import DESKTOP, Opened, Watch
from playwright.sync_api import Page, Route, expect

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>\u202egnp.exe'
SEGMENT = {"document_id": "doc_a", "document_title": "Guide", "page_number": 2, "page_end": 3, "tokens": 1234}
DROPPED = {"document_id": "doc_b", "document_title": "Notes", "page_number": None, "page_end": None}
CONTEXT: dict[str, Any] = {
    "mode": "retrieved",
    "tokens": 1234,
    "budget": 2048,
    "segments": [SEGMENT],
    "dropped": [DROPPED | {"reason": "over_budget"}],
}


def citation(number: int, text: str = "Pines need fire.", title: str = "Guide") -> dict[str, Any]:
    return {
        "id": number,
        "document_id": "doc_a",
        "document_title": title,
        "filename": "guide.pdf",
        "page_number": 2,
        "start_char_index": 10,
        "end_char_index": 10 + len(text),
        "cited_text": text,
        "chunk_id": "chk_1",
        "score": 0.9,
    }


def done(answer: str, status: str, citations: list[dict[str, Any]], **context: Any) -> dict[str, Any]:
    return {
        "answer_id": "ans_1",
        "answer": answer,
        "answer_status": status,
        "citations": citations,
        "context": CONTEXT | context,
        "usage": {"prompt_tokens": 9, "cached_tokens": 4, "completion_tokens": 3, "total_tokens": 12},
        "timings": {"retrieval": 12.0, "time_to_first_token": None, "generation": None},
    }


def send(page: Page, *events: tuple[str, Any]) -> None:
    body = "".join(f"event: {kind}\ndata: {json.dumps(data)}\n\n" for kind, data in events)

    def answer(route: Route) -> None:
        route.fulfill(status=200, content_type="text/event-stream", body=body)

    page.unroute("**/query")
    page.route("**/query", answer)


def ask(page: Page, question: str = "Why fire?") -> None:
    page.fill("#question", question)
    page.keyboard.press("Enter")


def test_quotes_answer_markers_and_ledger(open_page: Opened) -> None:
    page = open_page()
    quotes = [citation(1), citation(2, "Seeds sprout on bare soil.")]
    text = "Fire clears rivals [1]. Seeds need soil [2][1]. Nothing backs this [3]."
    send(
        page,
        ("context", CONTEXT),
        *(("citation", quote) for quote in quotes),
        ("progress", {"read": 500, "total": 1234, "cached": 4}),
        *(("delta", {"text": piece}) for piece in (text[:22], text[22:40], text[40:])),
        ("done", done(text, "answered", quotes)),
    )
    ask(page)
    turn = page.locator(".turn")
    expect(turn).not_to_have_attribute("aria-busy", "true")
    expect(turn.locator(".turn-answer")).to_have_text(
        "Fire clears rivals1. Seeds need soil21. Nothing backs this[3]."
    )
    assert turn.locator(".marker").all_inner_texts() == ["1", "2", "1"]
    assert turn.locator("blockquote").all_inner_texts() == [quote["cited_text"] for quote in quotes]
    expect(turn.locator(".quote-source").first).to_have_text("Guidepage 2")
    turn.locator("summary").click()
    expect(turn.locator(".ledger")).to_contain_text("1 passage, 1,234 of at most 2,048 tokens.")
    expect(turn.locator(".ledger")).to_contain_text("Guide · pages 2–3")
    expect(turn.locator(".ledger")).to_contain_text("did not fit into what is read for one answer")
    expect(turn.locator(".ledger")).to_contain_text("4 tokens remembered from before")


def test_quotes_stand_there_while_it_still_reads(open_page: Opened) -> None:
    """The events come one by one from a stream that stays open."""
    page = open_page()
    page.evaluate("""() => {
      const real = window.fetch;
      window.asked = new Promise((resolve) => { window.begun = resolve; });
      window.fetch = (path, options) => {
        if (path !== "query") return real(path, options);
        const body = new ReadableStream({ start(controller) {
          window.feed = (kind, data) => controller.enqueue(
            new TextEncoder().encode(`event: ${kind}\\ndata: ${JSON.stringify(data)}\\n\\n`));
          window.begun();
          options.signal.addEventListener("abort", () => {
            window.aborted = true;
            controller.error(options.signal.reason);
          });
        } });
        return Promise.resolve(new Response(body));
      };
    }""")
    ask(page)
    page.evaluate("() => window.asked")  # the conversation that it is asked in is made first
    turn, stage = page.locator(".turn"), page.locator(".turn-stage")

    def feed(kind: str, data: Any) -> None:
        page.evaluate("([kind, data]) => window.feed(kind, data)", [kind, data])

    expect(stage).to_have_text("Searching the documents")
    feed("context", CONTEXT)
    expect(stage).to_have_text("Found 1 passage in 1 document")
    feed("citation", citation(1))
    expect(turn.locator("blockquote")).to_have_text("Pines need fire.")
    expect(turn.locator(".turn-answer")).to_be_hidden()
    feed("progress", {"read": 600, "total": 1200, "cached": 0})
    expect(stage).to_have_text("Reading 600 of 1,200 tokens")
    assert turn.locator("progress").evaluate("(bar) => bar.position") == 0.5
    feed("delta", {"text": "Fire clears "})
    expect(stage).to_have_text("Writing the answer")
    expect(turn.locator(".turn-answer")).to_have_text("Fire clears")
    page.click("#ask-stop")
    expect(stage).to_have_text("Stopped.")
    assert page.evaluate("window.aborted") is True
    expect(turn.locator(".turn-answer")).to_have_text("Fire clears")
    expect(page.locator("#ask-go")).to_be_visible()
    expect(page.locator("#question")).to_be_focused()


@pytest.mark.parametrize(
    ("status", "quotes", "words"),
    [
        ("insufficient_evidence", [citation(1)], "The passages that come closest are below."),
        ("insufficient_evidence", [], "The documents do not say enough to answer this."),
        ("nothing_retrieved", [], "Nothing in these documents has to do with this question."),
    ],
)
def test_refusals_in_plain_words(
    open_page: Opened, status: str, quotes: list[dict[str, Any]], words: str
) -> None:
    page = open_page()
    context = CONTEXT if quotes else CONTEXT | {"segments": [], "dropped": [], "tokens": 0}
    send(page, ("context", context), ("done", done("", status, quotes, **context)))
    ask(page)
    expect(page.locator(".turn-verdict")).to_contain_text(words)
    expect(page.locator(".turn-answer")).to_be_hidden()
    expect(page.locator("blockquote")).to_have_count(len(quotes))


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (
            [("error", {"status": 503, "code": "engine_busy", "detail": "Too many."})],
            "Too many.",
        ),
        ([("context", CONTEXT), ("delta", {"text": "Fire"})], "ended before the answer was complete"),
        ([], "ended before the answer was complete"),
    ],
)
def test_a_stream_that_ends_badly_says_so_and_can_be_asked_again(
    open_page: Opened, events: list[tuple[str, Any]], words: str
) -> None:
    page = open_page()
    send(page, *events)
    ask(page)
    expect(page.locator(".turn-stage")).to_contain_text(words)
    send(page, ("context", CONTEXT), ("done", done("Better [1].", "answered", [citation(1)])))
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator(".turn").first.locator(".turn-answer")).to_contain_text("Better")


def test_text_is_never_markup(open_page: Opened) -> None:
    page = open_page()
    quote = citation(1, HOSTILE, HOSTILE)
    context = CONTEXT | {"segments": [SEGMENT | {"document_title": HOSTILE}]}
    send(
        page,
        ("context", context),
        ("citation", quote),
        ("delta", {"text": f"It says {HOSTILE}"}),
        ("done", done(f"It says {HOSTILE} [1]", "answered", [quote], **context)),
    )
    ask(page, HOSTILE)
    turn = page.locator(".turn")
    expect(turn.locator(".turn-answer")).to_contain_text("<script>")
    assert turn.locator("blockquote").evaluate("(quote) => quote.textContent") == HOSTILE
    assert turn.locator("img, script, style").count() == 0
    assert page.evaluate("window.pwned") is None


def test_an_answer_that_only_repeats_its_quotes_is_shown_once(open_page: Opened) -> None:
    page = open_page()
    send(page, ("done", done("“Pines need fire.” [1]", "answered", [citation(1)])))
    ask(page)
    expect(page.locator("blockquote")).to_have_text("Pines need fire.")
    expect(page.locator(".turn-answer")).to_be_hidden()


def test_it_is_usable_before_the_models_are_loaded(open_page: Opened, watch: Watch) -> None:
    watch.tolerated = ("503",)
    loading = {"database": "ok", "schema": "ok", "embedder": "loading", "engine": "loading", "worker": "ok"}
    states = [{"ready": False, "checks": loading}]

    def before(page: Page) -> None:
        def answer(route: Route) -> None:
            state = states[0]
            route.fulfill(status=200 if state["ready"] else 503, json=state)

        page.route("**/readyz", answer)

    page = open_page(before=before)
    expect(page.locator("#notice")).to_contain_text("the search model and the language model")
    expect(page.locator("#pick-files")).to_be_enabled()
    states[0] = {"ready": False, "checks": loading | {"embedder": "ok", "engine": "No such file: 'x'."}}
    expect(page.locator("#notice")).to_have_text("The language model: No such file: 'x'.")
    states[0] = {"ready": True, "checks": {}}
    expect(page.locator("#notice")).to_be_hidden()


def test_a_server_out_of_reach_is_said(open_page: Opened, watch: Watch) -> None:
    watch.tolerated = ("ERR_FAILED",)
    page = open_page(before=lambda page: page.route("**/readyz", lambda route: route.abort()))
    expect(page.locator("#notice")).to_have_text("The server cannot be reached. Trying again…")


def test_the_copied_answer_carries_its_quotes(open_page: Opened) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"], viewport=DESKTOP)
    send(page, ("done", done("Fire helps [1].", "answered", [citation(1)])))
    ask(page)
    page.get_by_role("button", name="Copy with quotes").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == (
        "Why fire?\n\nFire helps [1].\n\n[1] “Pines need fire.”\n    Guide, page 2\n"
    )


def test_earlier_questions_come_back_with_the_arrows(open_page: Opened) -> None:
    page = open_page()
    send(page, ("done", done("Yes [1].", "answered", [citation(1)])))
    for question in ("First?", "Second?"):
        ask(page, question)
        expect(page.locator(".turn").first).to_contain_text("Took")
    field = page.locator("#question")
    for key, shown in [("ArrowUp", "Second?"), ("ArrowUp", "First?"), ("ArrowUp", "First?")]:
        page.keyboard.press(key)
        expect(field).to_have_value(shown)
    page.keyboard.press("End")
    page.keyboard.press("ArrowDown")
    expect(field).to_have_value("Second?")
    assert page.locator(".turn-question").all_inner_texts() == ["Second?", "First?"]
    assert page.evaluate("Object.keys({...localStorage, ...sessionStorage})") == ["longleaf.collection"]
