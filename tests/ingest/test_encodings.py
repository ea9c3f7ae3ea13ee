"""Plain text in older encodings: the very text, or a refusal; never another text."""

from __future__ import annotations

import pytest

from ingest.errors import ParseError
from ingest.parsers.decoding import decode

# The first article of the Universal Declaration of Human Rights, and a line of our own.
# ruff: noqa: E501  # wide letters count twice
TEXTS = {
    "ru": (
        "Все люди рождаются свободными и равными в своём достоинстве и правах. Они наделены разумом "
        "и совестью и должны поступать в отношении друг друга в духе братства. Каждый человек "
        "должен обладать всеми правами и всеми свободами, провозглашёнными настоящей Декларацией, "
        "без какого бы то ни было различия. Договор вступает в силу со дня подписания обеими "
        "сторонами и действует до полного исполнения обязательств. Оплата производится в течение "
        "тридцати дней."
    ),
    "uk": (
        "Всі люди народжуються вільними і рівними у своїй гідності та правах. Вони наділені розумом "
        "і совістю і повинні діяти у відношенні один до одного в дусі братерства. Договір набирає "
        "чинності з дня його підписання обома сторонами."
    ),
    "bg": (
        "Всички хора се раждат свободни и равни по достойнство и права. Те са надарени с разум "
        "и съвест и следва да се отнасят помежду си в дух на братство. Договорът влиза в сила "
        "от деня на подписването."
    ),
    "el": (
        "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. "
        "Είναι προικισμένοι με λογική και συνείδηση, και οφείλουν να συμπεριφέρονται μεταξύ τους "
        "με πνεύμα αδελφοσύνης. Η σύμβαση ισχύει από την ημέρα υπογραφής της."
    ),
    "he": (
        "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון, לפיכך "
        "חובה עליהם לנהוג איש ברעהו ברוח של אחווה. החוזה נכנס לתוקף ביום חתימתו."
    ),
    "pl": (
        "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni "
        "obdarzeni rozumem i sumieniem i powinni postępować wobec innych w duchu braterstwa. "
        "Umowa wchodzi w życie z dniem podpisania przez obie strony. Opłata wynosi trzydzieści "
        "złotych miesięcznie."
    ),
    "cs": (
        "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem "
        "a svědomím a mají spolu jednat v duchu bratrství. Smlouva nabývá účinnosti dnem podpisu "
        "oběma stranami. Příliš žluťoučký kůň úpěl ďábelské ódy."
    ),
    "hu": (
        "Minden emberi lény szabadon születik és egyenlő méltósága és joga van. Az emberek, ésszel "
        "és lelkiismerettel bírván, egymással szemben testvéri szellemben kell hogy viseltessenek. "
        "A szerződés az aláírás napján lép hatályba, és a felek kötelesek teljesíteni."
    ),
    "tr": (
        "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler "
        "ve birbirlerine karşı kardeşlik zihniyeti ile hareket etmelidirler. Sözleşme imzalandığı "
        "gün yürürlüğe girer ve taraflar yükümlülüklerini yerine getirir."
    ),
    "lt": (
        "Visi žmonės gimsta laisvi ir lygūs savo orumu ir teisėmis. Jiems suteiktas protas ir "
        "sąžinė ir jie turi elgtis vienas kito atžvilgiu kaip broliai. Sutartis įsigalioja jos "
        "pasirašymo dieną."
    ),
    "ja": (
        "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない"
        "。契約は署名の日から効力を生じる。支払期限は三十日とする。"
    ),
    "zh": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。本合同自双方签字之日起生效。付款期限为三十天，逾期应支付违约金。",
    "zht": "人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心，並應以兄弟關係的精神相對待。本合約自雙方簽字之日起生效。付款期限為三十天，逾期應支付違約金。",
    "ko": (
        "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 부여받았으며 서로 형제애의 정신으로 행동하여야 "
        "한다. 계약은 서명한 날부터 효력이 발생한다."
    ),
    "de": (
        "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft "
        "und Gewissen begabt und sollen einander im Geist der Brüderlichkeit begegnen. Die Gebühr "
        "beträgt zwölf Groß je Straße."
    ),
    "fr": (
        "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués "
        "de raison et de conscience et doivent agir les uns envers les autres dans un esprit "
        "de fraternité. Le contrat prend effet à la date de signature, où qu'elle ait lieu."
    ),
    "fr15": (
        "Tous les êtres humains naissent libres et égaux. Le chef d'œuvre coûte 30 € et la sœur "
        "du maître paie le bœuf à la fin de l'année."
    ),
    "es": (
        "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como "
        "están de razón y conciencia, deben comportarse fraternalmente los unos con los otros. "
        "El año próximo vencerá también la opción."
    ),
    "pt": (
        "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Dotados de "
        "razão e de consciência, devem agir uns para com os outros em espírito de fraternidade. "
        "As obrigações não são transmissíveis."
    ),
    "sv": (
        "Alla människor är födda fria och lika i värde och rättigheter. De har utrustats med "
        "förnuft och samvete och bör handla gentemot varandra i en anda av gemenskap. Avtalet "
        "gäller från och med dagen då det undertecknas."
    ),
    "th": (
        "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธร"
        "รม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ สัญญามีผลตั้งแต่วันที่ลงนาม"
    ),
    "ar": (
        "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق. وقد وهبوا عقلا وضميرا وعليهم أن يعامل "
        "بعضهم بعضا بروح الإخاء. يسري العقد من تاريخ توقيعه."
    ),
    "ro": (
        "Toate fiinţele umane se nasc libere şi egale în demnitate şi în drepturi. Ele sunt înzestrate "
        "cu raţiune şi conştiinţă şi trebuie să se comporte unele faţă de altele în spiritul "
        "fraternităţii."
    ),
}
ENCODINGS = {
    "de": "cp1252 iso8859_1 iso8859_15 cp850 cp437 mac_roman utf-16 utf-16-le utf-16-be utf-32",
    "fr": "cp1252 cp850",
    "fr15": "iso8859_15",
    "es": "cp1252 iso8859_1 cp850",
    "pt": "cp1252 iso8859_1",
    "sv": "cp1252 iso8859_1 cp850",
    "pl": "cp1250 iso8859_2 cp852",
    "cs": "cp1250 iso8859_2 cp852",
    "hu": "cp1250 iso8859_2 cp852",
    "ro": "cp1250 iso8859_2",
    "tr": "cp1254 iso8859_9 cp857",
    "lt": "cp1257 iso8859_13 cp775",
    "ru": "cp1251 koi8_r cp866 iso8859_5 mac_cyrillic utf-16-be",
    "uk": "cp1251 koi8_u iso8859_5",
    "bg": "cp1251",
    "el": "cp1253 iso8859_7",
    "he": "cp1255 iso8859_8",
    "ar": "cp1256 iso8859_6",
    "th": "cp874 iso8859_11 tis_620",
    "ja": "shift_jis cp932 euc_jp iso2022_jp utf-16",
    "zh": "gb18030 gbk gb2312 hz utf-16",
    "zht": "big5 big5hkscs gb18030",
    "ko": "euc_kr cp949 iso2022_kr",
}
PAIRS = [(language, encoding) for language, listed in ENCODINGS.items() for encoding in listed.split()]


@pytest.mark.parametrize(("language", "encoding"), PAIRS)
@pytest.mark.parametrize("times", [1, 40])
def test_an_older_encoding_gives_the_very_text(language: str, encoding: str, times: int) -> None:
    data = "\r\n".join([TEXTS[language]] * times).encode(encoding)
    assert decode(data).text.encode(encoding) == data
    assert decode(data).text.split("\r\n")[0] == data.decode(encoding).split("\r\n")[0]


@pytest.mark.parametrize(("language", "encoding"), PAIRS)
def test_a_line_is_read_rightly_or_refused(language: str, encoding: str) -> None:
    text = TEXTS[language][:100].encode(encoding, "ignore").decode(encoding)
    try:
        found = decode(text.encode(encoding)).text
    except ParseError as refusal:
        found = text if "UTF-8" in refusal.detail else ""
    assert found == text


def test_a_text_of_english_with_a_few_signs_is_windows() -> None:
    text = "The café’s résumé costs £5 – “naïve” pricing at 20 °C."
    assert decode(text.encode("cp1252")).text == text


@pytest.mark.parametrize(
    ("name", "encoding", "text"),
    [
        ("iso-8859-9", "iso8859_9", "İş"),
        ("windows-1258", "cp1258", "Đây là"),
        ("ISO-8859-13", "iso8859_13", "ąžuolas"),
        ("gb2312", "gb2312", "合同"),
        ("tis-620", "tis_620", "ภาษา"),
    ],
)
def test_what_a_file_says_of_itself_is_believed(name: str, encoding: str, text: str) -> None:
    assert decode(text.encode(encoding), name).text == text
