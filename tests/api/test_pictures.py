"""Pages as pictures over HTTP: what is drawn, where a passage stands on it, and what is refused."""

from __future__ import annotations

import io
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageDraw, ImageFont

from api.lines import PICTURES_AT_ONCE
from api.wiring import Service
from tests.api.conftest import LEASE, problem, ready, until
from tests.page.pdf_pages import pdf_of

DATA = Path(__file__).resolve().parents[1] / "data"
PAGES = ["The mill stands by the river and grinds in autumn.", "Its wheel is of oak, its stones are of lava."]


def sheet(client: TestClient) -> tuple[str, str]:
    """A PDF's path, and its text."""
    document = ready(client, "mill.pdf", pdf_of(PAGES))
    path = f"/documents/{document['id']}"
    return path, client.get(f"{path}/text").text


def test_a_page_is_drawn_and_a_passage_pointed_out(client: TestClient) -> None:
    path, text = sheet(client)
    seen = client.get(f"{path}/pages/2/picture", params={"width": 900})
    assert seen.status_code == 200
    assert seen.headers["content-type"] == "image/webp"
    assert seen.headers["cache-control"] == "private, no-cache"
    assert "sandbox" in seen.headers["content-security-policy"]
    assert seen.headers["x-content-type-options"] == "nosniff"
    picture = Image.open(io.BytesIO(seen.content))
    assert picture.size == (900, round(900 * 792 / 612))

    start = text.index("grinds")
    end = text.index("oak") + 3
    first, second = (
        client.get(f"{path}/pages/{number}/boxes", params={"start": start, "end": end}).json()
        for number in (1, 2)
    )
    assert (first["width"], first["height"]) == (612, 792)
    assert [len(each["boxes"]) for each in (first, second)] == [1, 1]
    on_first, on_second = first["boxes"][0], second["boxes"][0]
    # the end of the one line, and the beginning of the other, which is set at 72 points from the left
    assert on_first["left"] > 0.3
    assert on_second["left"] == pytest.approx(72 / 612, abs=0.004)
    assert on_second["top"] == pytest.approx((792 - 732) / 792, abs=0.01)
    outside = client.get(f"{path}/pages/2/boxes", params={"start": 0, "end": start}).json()
    assert outside["boxes"] == []

    again = client.get(
        f"{path}/pages/2/picture", params={"width": 900}, headers={"If-None-Match": seen.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    other = client.get(
        f"{path}/pages/1/picture", params={"width": 900}, headers={"If-None-Match": seen.headers["etag"]}
    )
    assert other.status_code == 200

    assert client.delete(path).status_code == 204
    problem(
        client.get(f"{path}/pages/2/picture", headers={"If-None-Match": seen.headers["etag"]}),
        404,
        "document_not_found",
    )
    problem(client.get(f"{path}/pages/2/boxes?start=0&end=5"), 404, "document_not_found")


def test_another_version_is_another_picture(sqlite_client: TestClient) -> None:
    path, _ = sheet(sqlite_client)
    before = sqlite_client.get(f"{path}/pages/1/picture")
    sent = sqlite_client.put(path, files={"file": ("mill.pdf", pdf_of(["Another text altogether."]))})
    assert sent.status_code == 202
    until(lambda: "Another" in sqlite_client.get(f"{path}/text").text)
    after = sqlite_client.get(f"{path}/pages/1/picture", headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert after.content != before.content


def test_what_cannot_be_seen_is_said(sqlite_client: TestClient) -> None:
    path, _ = sheet(sqlite_client)
    for number in (0, 3, -1):
        problem(sqlite_client.get(f"{path}/pages/{number}/picture"), 404, "page_not_found")
        problem(sqlite_client.get(f"{path}/pages/{number}/boxes?start=0&end=1"), 404, "page_not_found")
    for width in (0, 99, 2401, 10**9):
        problem(sqlite_client.get(f"{path}/pages/1/picture?width={width}"), 422, "invalid_request")
    problem(sqlite_client.get(f"{path}/pages/1/boxes"), 422, "invalid_request")
    assert sqlite_client.get(f"{path}/pages/1/boxes?start=9&end=3").json()["boxes"] == []
    note = ready(sqlite_client, "lease.md", LEASE.encode())
    for what in ("picture", "boxes?start=0&end=5"):
        said = sqlite_client.get(f"/documents/{note['id']}/pages/1/{what}")
        problem(said, 404, "page_not_found")
    slides = DATA / "formats" / "fake-power-point-table.pptx"
    shown = ready(sqlite_client, slides.name, slides.read_bytes())
    for what in ("picture", "boxes?start=0&end=5"):
        problem(sqlite_client.get(f"/documents/{shown['id']}/pages/1/{what}"), 404, "no_picture")
    service: Service = sqlite_client.app.state.service  # type: ignore[attr-defined]
    for blob in (service.settings.data_dir / "blobs").glob("doc_*"):
        blob.write_bytes(b"%PDF-1.4 gone wrong")
    problem(sqlite_client.get(f"{path}/pages/1/picture"), 404, "no_picture")
    for blob in (service.settings.data_dir / "blobs").glob("doc_*"):
        blob.unlink()
    problem(sqlite_client.get(f"{path}/pages/1/picture"), 404, "content_not_found")


def test_more_than_may_wait_are_refused_at_once(sqlite_client: TestClient) -> None:
    path, _ = sheet(sqlite_client)
    service: Service = sqlite_client.app.state.service  # type: ignore[attr-defined]
    with ExitStack() as held:
        for _ in range(PICTURES_AT_ONCE + service.settings.max_waiting):
            held.enter_context(service.lines.inside("pictures"))
        for what in ("picture", "boxes?start=0&end=5"):
            refused = sqlite_client.get(f"{path}/pages/1/{what}")
            problem(refused, 503, "overloaded")
            assert refused.headers["retry-after"] == "2"
        assert sqlite_client.get(f"{path}/pages/1").status_code == 200
    assert sqlite_client.get(f"{path}/pages/1/picture").status_code == 200


def test_a_picture_that_was_uploaded_is_seen(sqlite_client: TestClient) -> None:
    buffer = io.BytesIO()
    picture = Image.new("RGB", (1000, 200), "white")
    ImageDraw.Draw(picture).text(
        (60, 60), "The sluice opens at dawn", fill="black", font=ImageFont.load_default(size=40)
    )
    picture.save(buffer, "PNG")
    document = ready(sqlite_client, "sluice.png", buffer.getvalue())
    path = f"/documents/{document['id']}/pages/1"
    seen = Image.open(io.BytesIO(sqlite_client.get(f"{path}/picture?width=500").content))
    assert seen.size == (500, 100)
    text = sqlite_client.get(f"/documents/{document['id']}/text").text
    start = text.index("opens")
    (box,) = sqlite_client.get(f"{path}/boxes", params={"start": start, "end": start + 5}).json()["boxes"]
    assert 0.2 < box["left"] < box["right"] < 0.5
