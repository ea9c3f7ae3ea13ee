"""Files of every kind over HTTP: uploaded, read, asked about, and cited where their words stand."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageDraw, ImageFont

from tests.api.conftest import ready, upload, wait_for

FOLDER = Path(__file__).resolve().parents[1] / "data" / "formats"
QUESTION = "How much must boats under 10 metres pay?"
SAID = "Boats under 10 metres pay nothing."


def scan() -> bytes:
    image = Image.new("RGB", (1200, 300), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=40)
    draw.text((60, 60), "Ships must book a berth two days before.", fill="black", font=font)
    draw.text((60, 130), SAID, fill="black", font=font)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def in_a_mail() -> bytes:
    from email.message import EmailMessage  # noqa: PLC0415

    made = EmailMessage()
    made["Subject"], made["From"], made["Message-ID"] = "Handbook", "a@example.org", "<1@example.org>"
    made.set_content("The handbook is attached.")
    made.add_attachment(
        (FOLDER / "harbour.docx").read_bytes(), maintype="application", subtype="zip", filename="harbour.docx"
    )
    return made.as_bytes()


# The page on which it stands; None where the format has none.
FILES: dict[str, int | None] = {
    "harbour.pdf": 1,
    "harbour.docx": None,
    "harbour.pptx": 3,
    "harbour.odp": 3,
    "harbour.odt": None,
    "harbour.rtf": None,
    "harbour.epub": None,
    "harbour.html": None,
    "harbour.tex": None,
    "harbour.rst": None,
    "harbour.ipynb": None,
    "harbour-docbook.xml": None,
    "mail.eml": None,
    "scan.png": 1,
    "boats.csv": None,
    "talk.srt": None,
    "russian.txt": None,
}
MADE = {
    "mail.eml": in_a_mail(),
    "scan.png": scan(),
    "boats.csv": f"Rule,Text\n1,Ships pay 840 euros a day.\n2,{SAID}\n".encode(),
    "talk.srt": f"1\n00:00:01,000 --> 00:00:04,000\n{SAID}\n".encode(),
    "russian.txt": f"Все лодки платят за стоянку по дням, суда — по длине. {SAID}".encode("cp1251"),
}


def cited(client: TestClient, document: dict[str, Any]) -> dict[str, Any]:
    """The citation of what is said in one document; its text is what the service serves there."""
    asked = {"question": QUESTION, "document_ids": [document["id"]], "mode": "quotes"}
    body = client.post("/query", json=asked).json()
    assert body["answer_status"] == "answered", body
    found = [one for one in body["citations"] if SAID[:-1] in " ".join(one["cited_text"].split())]
    assert found, body["citations"]
    text = client.get(f"/documents/{document['id']}/text").text
    first: dict[str, Any] = found[0]
    assert text[first["start_char_index"] : first["end_char_index"]] == first["cited_text"]
    return first


@pytest.mark.timeout(900)
def test_words_of_every_kind_of_file_are_cited_where_they_stand(sqlite_client: TestClient) -> None:
    for filename, page in FILES.items():
        content = MADE[filename] if filename in MADE else (FOLDER / filename).read_bytes()
        document = ready(sqlite_client, filename, content)
        citation = cited(sqlite_client, document)
        assert (filename, citation["page_number"]) == (filename, page)
        if page is not None:
            shown = sqlite_client.get(f"/documents/{document['id']}/pages/{page}").json()
            assert shown["start_char_index"] <= citation["start_char_index"] < shown["end_char_index"]


def test_what_cannot_be_read_fails_with_code_and_reason(sqlite_client: TestClient) -> None:
    for filename, code in (("locked-aes.zip", "encrypted"), ("berths.xls", "unsupported_type")):
        entry = upload(sqlite_client, filename, (FOLDER / filename).read_bytes())
        document = wait_for(sqlite_client, entry["id"])
        assert (document["status"], document["error"]["code"]) == ("failed", code)
        assert len(document["error"]["detail"]) > 20
