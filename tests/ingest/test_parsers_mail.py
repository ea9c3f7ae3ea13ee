"""Messages, mailboxes and archives: the parts within, their limits, and what is said of those not read."""

from __future__ import annotations

import io
import stat
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest
from parsed import check_ranges, found, parse_bytes
from test_parsers_office import workbook

from ingest.errors import ParseError
from ingest.parsers import source
from ingest.parsers.reading import open_source


def message(subject: str = "Grüße", **attached: bytes) -> EmailMessage:
    made = EmailMessage()
    made["Subject"], made["From"], made["To"] = subject, "Ann <a@example.org>", "b@example.org"
    made["Message-ID"] = "<1@example.org>"
    made.set_content("Dear Bob,\n\nthe plan is attached.\n")
    made.add_alternative("<p>Dear Bob, the plan is <b>attached</b>.</p>", subtype="html")
    for name, data in attached.items():
        made.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return made


def zipped(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_a_message_has_its_people_text_and_attachments(tmp_path: Path) -> None:
    data = message(**{"numbers.xlsx": workbook(), "photo.bin": b"\x7fELF" + bytes(60)}).as_bytes()
    document = parse_bytes(tmp_path, data, "a.eml")
    check_ranges(document)
    assert (document.title, document.media_type) == ("Grüße", "message/rfc822")
    assert found(document, "heading")[:3] == ["Grüße", "Attachment: numbers.xlsx", "Sales"]
    assert "From: Ann <a@example.org>\nTo: b@example.org" in document.text
    assert document.text.count("Dear Bob") == 1
    assert "North | 1234.5 | 25% | 2024-01-31" in document.text
    assert "Attachment: photo.bin (not read: not a type that holds text)" in document.text


def test_html_is_read_where_the_plain_form_is_a_stub(tmp_path: Path) -> None:
    made = EmailMessage()
    made["Subject"], made["From"], made["Message-ID"] = "x", "a@example.org", "<1@a>"
    made.set_content("See HTML.")
    made.add_alternative(
        "<p>The meeting is moved to Thursday at ten.</p><script>no()</script>", subtype="html"
    )
    text = parse_bytes(tmp_path, made.as_bytes(), "a.eml").text
    assert "moved to Thursday" in text
    assert "no()" not in text


def test_a_message_in_a_message_is_read_to_a_depth(tmp_path: Path) -> None:
    inner = message("innermost")
    for level in range(6):
        outer = message(f"level {level}")
        outer.add_attachment(inner)
        inner = outer
    text = parse_bytes(tmp_path, inner.as_bytes(), "a.eml").text
    assert "level 5" in text
    assert "too deep" in text
    assert "innermost" not in text


def test_a_mailbox_is_its_messages(tmp_path: Path) -> None:
    box = b"".join(
        b"From a@example.org Thu Jan  1 00:00:00 2026\n" + message(f"Letter {number}").as_bytes() + b"\n"
        for number in range(3)
    )
    document = parse_bytes(tmp_path, box, "inbox")
    check_ranges(document)
    assert document.media_type == "application/mbox"
    assert found(document, "heading") == ["Letter 0", "Letter 1", "Letter 2"]


def test_broken_header_fields_do_not_hide_the_text(tmp_path: Path) -> None:
    data = b"Subject: =?utf-9?Q?=FF?=\nFrom: =?x\nDate: never\nTo: \xff\xfe\nMIME-Version: 1.0\n\nThe text.\n"
    assert "The text." in parse_bytes(tmp_path, data, "a.eml").text


@pytest.mark.parametrize("charset", [b"utf\0-8", b"idna", b"undefined", b"base64", b"rot13", b"no such"])
def test_a_body_whose_charset_is_none_is_read_as_utf8(tmp_path: Path, charset: bytes) -> None:
    head = b'From: a@example.org\nContent-Type: text/plain; charset="' + charset + b'"\n\n'
    for body in (b"The mill burnt down in May.", b"The mill burnt down. \xff" + b"\1\2" * 20):
        document = parse_bytes(tmp_path, head + body, "a.eml")
        assert "The mill burnt down" in document.text


# ZIP


def test_an_archive_is_its_files(tmp_path: Path) -> None:
    parts = {
        "../../notes/plan.md": b"# Plan\n\nFirst do this.\n",
        "data.csv": b"city,rain\nBonn,30\n",
        "inner.zip": zipped({"deep.txt": b"A deep sentence."}),
        "__MACOSX/._plan.md": b"junk",
        "program": b"\x7fELF" + bytes(60),
    }
    document = parse_bytes(tmp_path, zipped(parts), "things.zip")
    check_ranges(document)
    assert document.media_type == "application/zip"
    assert found(document, "heading") == ["notes/plan.md", "# Plan", "data.csv", "inner.zip", "deep.txt"]
    assert "A deep sentence." in document.text
    assert "program (not read: not a type that holds text)" in document.text
    assert "junk" not in document.text
    assert ".." not in document.text


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("secret.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("plain.txt", "A plain sentence.")
    text = parse_bytes(tmp_path, buffer.getvalue(), "a.zip").text
    assert "plain sentence" in text
    assert "passwd" not in text


def test_an_archive_that_grows_without_measure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParseError) as caught:
        parse_bytes(tmp_path, zipped({"bomb.txt": bytes(10 << 20)}), "a.zip")
    assert caught.value.code == "too_large"
    assert "200 times" in caught.value.detail


def test_archives_share_one_budget() -> None:
    context = source.Context(open_source, 100, 10_000, budget=source.Budget(members=5))
    inner = zipped({f"{number}.txt": b"A sentence." for number in range(3)})
    with pytest.raises(ParseError, match="Upload them in parts") as caught:
        open_source(source.Source("a.zip", zipped({"a.zip": inner, "b.zip": inner})), context)
    assert caught.value.code == "too_large"


def test_an_archive_of_archives_ends(tmp_path: Path) -> None:
    data = b"A sentence at the bottom."
    for level in range(8):
        data = zipped({f"{level}.zip" if level else "text.txt": data, "top.txt": b"A sentence here."})
    text = parse_bytes(tmp_path, data, "a.zip").text
    assert text.count("A sentence here.") == source.MAX_DEPTH
    assert "too deep" in text


def test_an_archive_without_text_says_so(tmp_path: Path) -> None:
    with pytest.raises(ParseError) as caught:
        parse_bytes(tmp_path, zipped({"program": b"\x7fELF" + bytes(60)}), "a.zip")
    assert caught.value.code == "unsupported_type"
