"""Orders: whether a sentence speaks to a machine instead of a reader.

No guarantee rests on this: what a document says is data by the way prompts and answers are built
(docs/decisions/0310-documents-give-no-orders.md). It keeps noise out of the quotes: a planted order is almost
never what was asked for, so quoting takes it for less likely, and never as a companion of another sentence.
"""

from __future__ import annotations

import re
import unicodedata

PRIOR = 0.02
"""By how much less likely a sentence holds the answer when it speaks to a machine."""

_CONTROL = re.compile(
    r"<\s*\|[^|<>]{1,40}\|\s*>|\[/?inst\]|<</?sys>>|</?s>|<(?:start|end)_of_turn>|<fim_\w+>|<repo_name>|<unk>"
)
_TOOLS = re.compile(
    r'"(?:arguments|parameters|tool_calls?|function_call|answer_status)"\s*:'
    r"|</?(?:tool_call|function\b|invoke\b|system\b)"
    r"|^\s*action(?: input)?\s*:|tool_code|^\s*event\s*:|^\s*data\s*:\s*[\[{]"
    r"|^\s*\{[^{}]{0,80}\"(?:name|type|output)\"\s*:",
    re.MULTILINE,
)
_ROLES = re.compile(r"^\s*(?:#+\s*)?(?:system|assistant|human|user|instruction|response)\s*:", re.MULTILINE)
_PHRASES = re.compile(
    "|".join((
        # to forget what was said before
        r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,40}\b(?:instructions?|prompts?|rules)\b",
        r"\b(?:ignorier|vergiss|missacht)\w*\b.{0,60}\b(?:anweisung|regel|befehl|vorgabe)",
        r"\b(?:ignor\w*|oubli\w*)\b.{0,40}\b(?:instructions|consignes|règles)\b",
        r"\b(?:ignor\w*|olvid\w*)\b.{0,40}\b(?:instrucciones|órdenes|reglas)\b",
        r"\b(?:ignor\w*|dimentic\w*)\b.{0,40}\b(?:istruzioni|regole)\b",
        r"\b(?:ignor\w*|esque[çc]\w*)\b.{0,40}\b(?:instruções|ordens|regras)\b",
        r"निर्देश.{0,30}(?:अनदेखा|भूल|उपेक्षा)",
        r"(?:ละเว้น|เพิกเฉย|ลืม|ไม่ต้องสนใจ).{0,30}(?:คำสั่ง|คำแนะนำ)",
        r"(?:تجاهل|انس).{0,30}(?:التعليمات|الأوامر)",
        # the machine by its name or its parts
        r"\bsystem (?:message|prompt)\b|\bsystemnachricht\b|\b(?:message|invite) système\b",
        r"\bmensaje de(?:l)? sistema\b|\bmessaggio di sistema\b|\bmensagem de sistema\b",
        r"सिस्टम संदेश|ข้อความระบบ|رسالة النظام",
        r"\b(?:attention|hey|dear|note to),? (?:the )?(?:ai|assistant|model|chatbot|llm)\b",
        r"\bachtung, assistent\b",
        r"\battention, assistant\b|\batención, asistente\b",
        r"\battenzione, assistente\b|\batenção, assistente\b",
        r"ध्यान दो, सहायक|ผู้ช่วยโปรดทราบ|أيها المساعد",
        # the form of its answers
        r"\b(?:reply|respond|answer|write)\b.{0,40}\b(?:only|every|always)\b.{0,60}\b(?:json|xml|reply)\b",
        r"\b(?:jede antwort|chaque réponse|cada respuesta|ogni risposta|cada resposta)\b.{0,30}\bjson\b",
        r"हर उत्तर.{0,30}json|ทุกคำตอบเป็น\s*json|كل جواب.{0,20}json",
        r"\b(?:call|use|invoke)\b.{0,20}\btool\b|\bsuchwerkzeug\b.{0,60}\bauf\b|\boutil de recherche\b",
        r"\bherramienta de búsqueda\b|\bstrumento di ricerca\b|\bferramenta de pesquisa\b",
        r"खोज उपकरण|เครื่องมือค้นหา|أداة البحث",
        r"\bnever cite\b|\bzitiere niemals\b|\bne cite jamais\b|\bnunca cites?\b|\bnon citare mai\b",
        r"कभी उद्धृत मत|อย่าอ้างอิง|لا تستشهد",
        r"\bwhatever (?:is|the question|they) ask|\bwas auch gefragt\b|\bquelle que soit la question\b",
        r"\bsea cual sea la pregunta\b|\bqualunque sia la domanda\b|\bseja qual for a pergunta\b",
        r"प्रश्न कुछ भी हो|ไม่ว่าจะถามอะไร|مهما كان السؤال",
    ))
)  # fmt: skip
_MARKUP = re.compile(
    r"<\s*/?\s*(?:script|img|iframe|svg|form|meta|link|base|style|object|embed|input|a|h[1-6]|div|pre)\b"
    r"|!\[[^\]]*\]\s*[(\[]|\]\s*\(\s*[a-z]+:|^\s*\[[^\]]+\]:\s*\S|(?:https?|file|javascript|data):\S|\bwww\.",
    re.MULTILINE,
)
# Code of templates and escaped markup: inert as it is, live once a program fills or unescapes it.
_CODE = re.compile(r"\{\{|[$#]\{|\$\(|<%|%>|&(?:lt|gt|#0*60|#x0*3c);")
# Tag characters, direction overrides and isolates, interlinear marks: no orthography needs them.
_UNSEEN = re.compile("[\U000e0000-\U000e007f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb]")
_JOINTS = re.compile("[\u200b\u00ad\u2060\ufe0f\ufeff]")
_JOINTED = 0.2
"""Share of invisible characters from which on a text is disguised."""
_PILED = re.compile(r"[a-z][\u0300-\u036f]{2}.{0,4}[a-z][\u0300-\u036f]{2}", re.IGNORECASE)
_MIXED = re.compile(r"[a-z][\u0400-\u052f]|[\u0400-\u052f][a-z]", re.IGNORECASE)
_MANY_MIXED = 3


def speaks_to_machine(text: str) -> bool:
    """Whether a sentence looks like an order to a model, a turn of a chat, or a call of a tool."""
    disguised = (
        _UNSEEN.search(text)
        or len(_JOINTS.findall(text)) > _JOINTED * len(text)
        or _PILED.search(text)
        or len(_MIXED.findall(text)) >= _MANY_MIXED
    )
    if disguised:
        return True
    plain = unicodedata.normalize("NFKC", _JOINTS.sub("", text)).casefold()
    plain = plain.replace("\u2028", " ")
    return any(pattern.search(plain) for pattern in (_CONTROL, _TOOLS, _ROLES, _PHRASES))


def holds_markup(text: str) -> bool:
    """Whether a sentence holds a link, an image, an element or template code: what some program acts on."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return _MARKUP.search(plain) is not None or _CODE.search(plain) is not None
