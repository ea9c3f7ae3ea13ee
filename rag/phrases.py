"""Phrases: the few sentences that the service itself says in an answer, in the question's language."""

from __future__ import annotations

from typing import Literal

Phrase = Literal["nothing", "refusal", "unreached", "disagreement"]

_SAID: dict[Phrase, dict[str, str]] = {
    "nothing": {
        "en": "The documents hold nothing on this question.",
        "de": "Die Dokumente enthalten nichts zu dieser Frage.",
        "es": "Los documentos no contienen nada sobre esta pregunta.",
        "fr": "Les documents ne contiennent rien sur cette question.",
        "it": "I documenti non contengono nulla su questa domanda.",
        "pt": "Os documentos não contêm nada sobre esta pergunta.",
        "hi": "दस्तावेज़ों में इस प्रश्न के बारे में कुछ नहीं है।",
        "th": "เอกสารไม่มีข้อมูลเกี่ยวกับคำถามนี้",
        "ar": "لا تحتوي المستندات على أي شيء بخصوص هذا السؤال.",
    },
    "refusal": {
        "en": "The documents do not say.",
        "de": "Das steht nicht in den Dokumenten.",
        "es": "Los documentos no lo dicen.",
        "fr": "Les documents ne le disent pas.",
        "it": "I documenti non lo dicono.",
        "pt": "Os documentos não dizem.",
        "hi": "दस्तावेज़ यह नहीं बताते।",
        "th": "เอกสารไม่ได้ระบุไว้",
        "ar": "المستندات لا تذكر ذلك.",
    },
    "unreached": {
        "en": "Not all documents could be searched; those that could be do not say.",
        "de": "Nicht alle Dokumente konnten durchsucht werden; in den durchsuchten steht es nicht.",
        "es": "No se pudieron buscar todos los documentos; los que se buscaron no lo dicen.",
        "fr": "Tous les documents n’ont pas pu être consultés ; ceux qui l’ont été ne le disent pas.",
        "it": "Non è stato possibile cercare in tutti i documenti; quelli consultati non lo dicono.",
        "pt": "Não foi possível pesquisar todos os documentos; os que foram pesquisados não dizem.",
        "hi": "सभी दस्तावेज़ों में खोज नहीं हो सकी; जिनमें हुई, वे यह नहीं बताते।",
        "th": "ไม่สามารถค้นหาเอกสารได้ครบทุกฉบับ และเอกสารที่ค้นหาได้ไม่ได้ระบุไว้",
        "ar": "تعذّر البحث في جميع المستندات، وما أمكن البحث فيه لا يذكر ذلك.",
    },
    "disagreement": {
        "en": "The sources disagree:",
        "de": "Die Quellen widersprechen sich:",
        "es": "Las fuentes no coinciden:",
        "fr": "Les sources se contredisent :",
        "it": "Le fonti non concordano:",
        "pt": "As fontes não concordam:",
        "hi": "स्रोतों में मतभेद है:",
        "th": "แหล่งข้อมูลขัดแย้งกัน:",
        "ar": "المصادر غير متفقة:",
    },
}

LANGUAGES = tuple(_SAID["refusal"])
"""ISO 639-1 codes of the languages in which the service itself can speak."""


def say(phrase: Phrase, language: str | None) -> str:
    """The sentence in a language; in English where the language is not known or not one of `LANGUAGES`."""
    spoken = _SAID[phrase]
    return spoken.get(language or "en", spoken["en"])
