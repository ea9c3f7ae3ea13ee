"""The language of a question, what a model was made for, and the service's own sentences."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from model import Engine
from rag.language import detect, languages_of, warning
from rag.phrases import LANGUAGES, say

QUESTIONS = {
    "en": "How long is the notice period of the lease?",
    "de": "Wie lange dauert die Kündigungsfrist des Mietvertrags?",
    "es": "¿Cuánto dura el plazo de preaviso del contrato?",
    "fr": "Quelle est la durée du préavis du bail ?",
    "it": "Quanto dura il periodo di preavviso del contratto?",
    "pt": "Qual é o prazo de aviso prévio do contrato?",
    "hi": "पट्टे की सूचना अवधि कितनी लंबी है?",
    "th": "ระยะเวลาแจ้งล่วงหน้าของสัญญาเช่านานเท่าใด",
    "ar": "ما هي مدة الإشعار في عقد الإيجار؟",
    "nl": "Hoe lang is de opzegtermijn van het huurcontract?",
    "ja": "賃貸契約の通知期間はどのくらいですか。",
}


@pytest.mark.parametrize(("language", "question"), QUESTIONS.items())
def test_a_question_s_language_is_told(language: str, question: str) -> None:
    assert detect(question) == language


@pytest.mark.parametrize("text", ["", "1871", "?!", "zz9 q-14b", "Ada Petersen?"])
def test_what_has_no_language_is_said_to_have_none(text: str) -> None:
    assert detect(text) is None


@pytest.mark.parametrize(
    ("name", "made_for"),
    [
        ("SmolLM2-135M-Instruct", ("en",)),
        ("Meta-Llama-3.1-8B-Instruct", ("en", "de", "fr", "it", "pt", "hi", "es", "th")),
        ("Llama-3.3-70B-Instruct", ("en", "de", "fr", "it", "pt", "hi", "es", "th")),
        ("Meta-Llama-3-8B-Instruct", ("en",)),
        ("something-else", ()),
    ],
)
def test_a_model_s_languages_go_by_its_name_or_the_setting(name: str, made_for: tuple[str, ...]) -> None:
    engine = SimpleNamespace(name=name)
    assert languages_of(engine) == made_for
    assert languages_of(engine, "de, FR") == ("de", "fr")


def test_the_bundled_model_is_made_for_english(engine: Engine) -> None:
    assert languages_of(engine) == ("en",)


def test_a_warning_comes_only_when_both_are_known_and_differ() -> None:
    said = warning("hi", ("en", "de"))
    assert said is not None
    assert "English, German" in said
    assert "Hindi" in said
    assert warning("de", ("en", "de")) is None
    assert warning(None, ("en",)) is None
    assert warning("hi", ()) is None


def test_the_service_speaks_nine_languages_and_english_otherwise() -> None:
    assert set(LANGUAGES) == {"en", "de", "es", "fr", "it", "pt", "hi", "th", "ar"}
    for phrase in ("nothing", "refusal", "unreached"):
        said = {language: say(phrase, language) for language in LANGUAGES}
        assert len(set(said.values())) == len(LANGUAGES)
        for language in set(LANGUAGES) & {"de", "es", "it", "hi", "th", "ar"}:
            assert detect(said[language]) == language
        assert say(phrase, "nl") == say(phrase, None) == said["en"]
