"""Streamed text is right for every cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from model.text.stream import TextStream

TEXTS = st.one_of(
    st.sampled_from(["नमस्ते दुनिया", "สวัสดีชาวโลก", "👩‍👩‍👧‍👦 🇩🇪 e\u0301", "naïve — “quotes”", ""]), st.text()
)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(place, len(data)) for place in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(places)]


def run(pieces: list[bytes], stop: tuple[str, ...] = ()) -> tuple[str, str | None]:
    stream = TextStream(stop)
    text = "".join([stream.push(piece) for piece in pieces] + [stream.flush()])
    return text, stream.stopped


@given(TEXTS, st.lists(st.integers(0, 60)))
def test_text_survives_every_cut(text: str, cuts: list[int]) -> None:
    data = text.encode()
    assert run(cut(data, cuts))[0] == text
    assert run([bytes([byte]) for byte in data])[0] == text


@given(st.binary(max_size=24), st.lists(st.integers(0, 24)))
def test_broken_bytes_become_the_same_text_however_cut(data: bytes, cuts: list[int]) -> None:
    assert run(cut(data, cuts))[0] == data.decode("utf-8", "replace")


@given(TEXTS, st.integers(0, 20))
def test_no_piece_is_taken_back(text: str, size: int) -> None:
    stream, sent = TextStream(), ""
    for byte in text.encode()[:size]:
        sent += stream.push(bytes([byte]))
        assert "\ufffd" not in sent or "\ufffd" in text
        assert text.startswith(sent)


@given(
    st.text(alphabet="abc", max_size=30),
    st.lists(st.text(alphabet="abc", min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.integers(0, 30)),
)
def test_stop_strings_end_the_text_at_the_same_place_however_cut(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    # The oracle: letter by letter, the first moment at which the text ends with a stop string.
    expected, met = text, None
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            met = max(found, key=len)
            expected = text[: end - len(met)]
            break
    assert run(cut(text.encode(), cuts), tuple(stops)) == (expected, met)


def test_a_possible_stop_string_is_held_back_and_released() -> None:
    stream = TextStream(("###END",))
    assert stream.push(b"one ##") == "one "
    assert stream.push(b"#EN") == ""
    assert stream.push(b"GLISH") == "###ENGLISH"
    assert stream.flush() == ""
