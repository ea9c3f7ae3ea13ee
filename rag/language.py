"""Language: which one a question is in, which ones a model was made for, and what to say when they differ."""

from __future__ import annotations

import re
import threading
from functools import lru_cache
from typing import Protocol

from py3langid.langid import MODEL_FILE, LanguageIdentifier

NAMES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech", "da": "Danish",
    "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian", "fa": "Persian",
    "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian",
    "lv": "Latvian", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian",
    "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil",
    "te": "Telugu", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese",
    "zh": "Chinese",
}  # fmt: skip
"""Languages that are told apart, by ISO 639-1. Small neighbours of large languages (Galician, Occitan,
Nepali, Marathi) are left out: a short question would often be taken for theirs."""

SURE = 0.5
"""Probability below which a text's language is not known."""

_MADE_FOR = (
    (re.compile(r"llama[-_ ]?3\.[1-9]", re.IGNORECASE), ("en", "de", "fr", "it", "pt", "hi", "es", "th")),
    (re.compile(r"llama[-_ ]?3(?![.\d])", re.IGNORECASE), ("en",)),
    (re.compile(r"smollm2", re.IGNORECASE), ("en",)),
)
"""By a model's name, as the model cards say: Llama 3.1, 3.2 and 3.3 "English, German, French, Italian,
Portuguese, Hindi, Spanish, and Thai"; Llama 3 "intended for use in English"; SmolLM2 "primarily English"."""

_loading = threading.Lock()


class Named(Protocol):
    """The part of an engine that is needed here."""

    @property
    def name(self) -> str: ...


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(sorted(NAMES))
    return identifier


@lru_cache(maxsize=1024)
def detect(text: str) -> str | None:
    """ISO 639-1 code of a text's language; None where it is too short or too mixed to tell.

    By py3langid's table of byte n-grams (Lui and Baldwin 2012, "langid.py"), which comes with the package.
    The first call loads it, which takes about a second.
    """
    if not any(character.isalpha() for character in text):
        return None
    with _loading:
        language, probability = _identifier().classify(text)
    return str(language) if probability >= SURE else None


def languages_of(engine: Named, setting: str = "") -> tuple[str, ...]:
    """The languages that a model was made for: those of the setting (codes between commas), else by the
    model's name; empty where neither tells."""
    if named := tuple(code.strip().casefold() for code in setting.split(",") if code.strip()):
        return named
    return next((made for pattern, made in _MADE_FOR if pattern.search(engine.name)), ())


def warning(question_language: str | None, model_languages: tuple[str, ...]) -> str | None:
    """What to tell somebody who asks in a language that the model was not made for; None if all is well or
    unknown."""
    if question_language is None or not model_languages or question_language in model_languages:
        return None
    made = ", ".join(NAMES.get(code, code) for code in model_languages)
    return (
        f"The model was made for {made}, not for {NAMES.get(question_language, question_language)}: "
        "hold its sentences against the quotes."
    )
