"""The evaluation report in a real browser: no request, nothing of a document runs, questions are filtered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from rag.evaluation.outcome import Outcome, QuoteOutcome
from rag.evaluation.report import run_report
from rag.evaluation.runfile import Run

HOSTILE = (
    "<script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">"
    "<iframe src=//example.org></iframe><style>body{display:none}</style></blockquote></details></div>"
)


def outcome(name: str, question: str, rank: int | None, milliseconds: float) -> Outcome:
    quote = QuoteOutcome(f"{HOSTILE} {name}", HOSTILE, 2, 0, 9, True, True, True, True)
    return Outcome(
        name,
        question,
        name,
        "en",
        answerable=True,
        answers=(HOSTILE,),
        located=True,
        ranks=(rank,),
        found=rank,
        packed=rank is not None,
        answer=HOSTILE,
        kind="prose",
        status="answered",
        reason="supported",
        quotes=(quote,) if rank else (),
        milliseconds=milliseconds,
    )


@pytest.fixture
def asked() -> list[str]:
    """Addresses that the page asked for."""
    return []


@pytest.fixture
def report(browser: Browser, tmp_path: Path, asked: list[str]) -> Iterator[Page]:
    """The opened report; whatever it says in the console or throws is a failure."""
    outcomes = [
        outcome("q1", f"Where is {HOSTILE}?", 1, 10),
        outcome("q2", "أين النهر؟", 7, 30),
        outcome("q3", "Which mill?", None, 20),
    ]
    about = {"created": "2026-01-01", "set": HOSTILE, "settings": {"mode": HOSTILE}}
    path = tmp_path / "report.html"
    path.write_text(run_report(Run.of(about, outcomes)), encoding="utf-8")
    context = browser.new_context(color_scheme="dark")
    faults: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    context.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert faults == []


def test_a_report_needs_no_network_and_runs_nothing_of_a_document(report: Page, asked: list[str]) -> None:
    for summary in report.locator("summary").all():
        summary.click()
    expect(report.locator("blockquote").first).to_be_visible()
    assert report.title().startswith("Evaluation of <script>")
    assert len(asked) == 1
    assert asked[0].startswith("file://")
    assert report.locator("main img, main iframe, main script, main style").count() == 0
    assert report.locator("#questions > details").count() == 3
    background = "getComputedStyle(document.documentElement).colorScheme"
    assert report.evaluate(background) == "light dark"


def test_questions_are_filtered_and_sorted(report: Page) -> None:
    shown = report.locator("#questions > details:visible")
    ids = report.locator("#questions > details:visible > summary > .quiet")
    expect(shown).to_have_count(3)
    report.get_by_label("Order").select_option("time")
    expect(ids).to_have_text(["q2", "q3", "q1"])
    report.get_by_label("Order").select_option("rank")
    expect(ids).to_have_text(["q3", "q2", "q1"])
    report.get_by_label("Show").select_option("unfound")
    expect(ids).to_have_text(["q3"])
    report.get_by_label("Show").select_option("")
    report.get_by_label("Words").fill("النهر")
    expect(ids).to_have_text(["q2"])
    expect(report.locator("#count")).to_have_text("1 of 3")
