"""Numbers that a text states, in digits or in words, so that they can be compared."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"\d+(?:[.,:]\d+)*")
_WORD = re.compile(r"[^\W\d_]+")

_FROM_TWO = {
    "en": "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty",
    "de": "zwei drei vier fünf sechs sieben acht neun zehn - zwölf dreizehn vierzehn fünfzehn sechzehn "
    "siebzehn achtzehn neunzehn zwanzig",
    "fr": "deux trois quatre cinq six - huit - dix onze douze treize quatorze quinze - - - - vingt",
    "it": "- tre quattro cinque - sette otto nove dieci undici dodici tredici quattordici quindici sedici "
    "diciassette diciotto diciannove venti",
    "pt": "dois três quatro cinco seis sete oito nove dez onze doze treze quatorze quinze dezesseis "
    "dezessete dezoito dezenove vinte",
    "es": "- tres cuatro cinco seis siete ocho nueve diez - doce trece catorce quince dieciséis diecisiete "
    "dieciocho diecinueve veinte",
}
"""From 2 to 20. A dash for words that mean something else as well, in this or another language: due, once."""
_TENS = {
    "en": "thirty forty fifty sixty seventy eighty ninety",
    "de": "dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
    "fr": "trente quarante cinquante soixante - - -",
    "it": "trenta quaranta cinquanta sessanta settanta ottanta novanta",
    "pt": "trinta quarenta cinquenta sessenta setenta oitenta noventa",
    "es": "treinta cuarenta cincuenta sesenta setenta ochenta noventa",
}
_VALUES = {
    word: str(first + step * place)
    for rows, first, step in ((_FROM_TWO, 2, 1), (_TENS, 30, 10))
    for row in rows.values()
    for place, word in enumerate(row.split())
    if word != "-"
}


def figures(text: str) -> frozenset[str]:
    """The numbers of a text in digits, as it writes them; words of six languages become digits.

    Words reach from two to ninety; of those put together ("twenty-five") each part counts by itself.
    """
    words = (_VALUES.get(word) for word in _WORD.findall(text.lower()))
    return frozenset([*_DIGITS.findall(text), *filter(None, words)])
