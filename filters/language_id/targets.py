"""Find the languages that a question asks for: of an answer or of a translation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import pairwise

from filters.language_id.scripts import fold

_VERBS = (
    r"translat\w*|render|answer|respond|reply|write|say|traduc\w*|traduis\w*|traduz\w*|tradur\w*|"
    r"übersetz\w*|antwort\w*|schreib\w*|répond\w*|écri\w*|contest\w*|escrib\w*|rispond\w*|"
    r"scriv\w*|vertaal\w*|antwoord\w*|przetłumacz\w*|odpowied\w*|översätt\w*|svar\w*|"
    r"oversæt\w*|oversett\w*|çevir\w*|tercüme|cevapla\w*|yaz\w*|terjemah\w*|jawab\w*|dịch|"
    r"dit-on|se dit|se dice|se diz|si dice|sagt man|sage ich|mówi się|zeg je|säger man|denir|nói|"
    r"сказать|сказати|"
    r"trả lời|перевед\w*|перевод\w*|ответ\w*|напиш\w*|переклад\w*|відпові\w*"
)
# Of scripts in which words have no spaces between them, or grow at both ends.
_GLUED = (
    "ترجم|أجب|اكتب|अनुवाद|उत्तर|लिख|भाषांतर|"
    "怎么说|怎麼說|怎么写|言い|言う|말하|يقال|نقول|कहते|कहेंगे|"
    "翻译|翻譯|译成|譯成|译为|訳し|翻訳|回答|答え|번역|옮기|답하"
)
# After the verb, and a word such as "into": stems of the languages' names as prompts spell them.
_NAMES = {
    "en": """english inglés inglese inglês anglais englisch engels angiel english
        engelska engelsk ingiliz inggris anh английск англійськ الإنجليزية انجليزي
        अंग्रेज़ी अंग्रेजी इंग्रजी 英文 英语 英語 영어""",
    "fr": """french francés francese francês français französisch frans francus franska
        fransk fransız prancis perancis pháp французск французськ الفرنسية फ़्रेंच
        फ्रेंच 法文 法语 法語 フランス語 프랑스어""",
    "de": """german alemán tedesco alemão allemand deutsch duits niemiec tyska tysk alman
        jerman đức немецк німецьк الألمانية जर्मन 德文 德语 德語 ドイツ語 독일어""",
    "es": """spanish español spagnolo espanhol espagnol spanisch spaans hiszpań spanska
        spansk ispanyol spanyol sepanyol ban испанск іспанськ الإسبانية स्पेनिश
        स्पैनिश 西班牙 スペイン語 스페인어""",
    "it": """italian italiano italiaans włosk italienska italiensk italyan italia ý
        итальянск італійськ الإيطالية इतालवी 意大利 イタリア語 이탈리아어 italien italienisch""",
    "pt": """portuguese portugués portoghese português portugais portugiesisch portugees
        portugal portekiz portugis португальск البرتغالية पुर्तगाली 葡萄牙 ポルトガル語 포르투갈어""",
    "nl": """dutch holandés neerlandés olandese holandês néerlandais niederländisch
        nederlands holenders nederländska felemenk belanda нидерландск голландск
        الهولندية डच 荷兰 オランダ語 네덜란드어""",
    "pl": """polish polaco polacco polonês polonais polnisch pools polsk lehçe polandia
        ba польск البولندية पोलिश 波兰 ポーランド語 폴란드어""",
    "ru": """russian ruso russo russe russisch rosyjsk ryska russisk rusça rusia nga
        русск російськ الروسية रूसी रशियन 俄文 俄语 俄語 ロシア語 러시아어""",
    "zh": """chinese mandarin chino cinese chinês chinois chinesisch chinees chińsk
        kinesiska kinesisk çince tionghoa cina trung китайск китайськ الصينية चीनी
        中文 汉语 漢語 华语 中国語 중국어 繁體中文 简体中文""",
    "ja": """japanese japonés giapponese japonês japonais japanisch japans japońsk
        japanska japansk japonca jepang nhật японск японськ اليابانية जापानी 日文 日语
        日語 日本語 일본어""",
    "ko": """korean coreano coréen koreanisch koreaans koreańsk koreanska koreansk korece
        korea hàn корейск корейськ الكورية कोरियाई 韩文 韩语 韓語 韓国語 한국어""",
    "ar": """arabic árabe arabo arabe arabisch arabsk arabiska arapça arab ả rập арабск
        арабськ العربية अरबी 阿拉伯 アラビア語 아랍어""",
    "hi": """hindi хинди гінді الهندية हिंदी हिन्दी 印地 ヒンディー語 힌디어""",
    "tr": """turkish turco turc türkisch turks tureck turkiska tyrkisk türkçe turki thổ
        турецк турецьк التركية तुर्की 土耳其 トルコ語 터키어""",
    "vi": """vietnamese vietnamita vietnamien vietnamesisch wietnams tiếng việt вьетнамск
        الفيتنامية वियतनामी 越南 ベトナム語 베트남어""",
    "sv": """swedish sueco svedese suédois schwedisch zweeds szwedz svenska svensk isveç
        шведск 瑞典""",
    "uk": """ukrainian ucraniano ucraino ukrainien ukrainisch ukraiń українськ украинск
        乌克兰""",
    "id": """indonesian indonesio indonesiano indonésien indonesisch bahasa indonesia 印尼
        印度尼西亚""",
    "la": """latin latín latino latein łacin латынь латинск 拉丁""",
}
SURE_STEM = 5  # bytes; shorter stems also begin other words ("ban")
_STEMS = sorted(
    (
        (fold(stem), code)
        for code, stems in _NAMES.items()
        for stem in stems.split()
        if len(stem) > 1
    ),
    key=lambda item: -len(item[0]),
)
_NAMED = re.compile("|".join(re.escape(stem) for stem, _ in _STEMS))  # of a folded text
_CODES = dict(_STEMS)
_ASKED = re.compile(rf"(?<!\w)(?:{_VERBS})|{_GLUED}", re.IGNORECASE)
_QUOTATION = re.compile(r"[\"“„«「『][^\"”“»」』]*[\"”“»」』]")
NEAR = 60  # characters between the verb and the name
_AS_WELL = re.compile(
    r"\w*[^\w.!?\n]*(?:\w+[^\w.!?\n]+){0,2}"
)  # between two languages that are both asked for
_NOT = re.compile(r"\b(?:not|no|nicht|pas|non|não|nie|не|niet|inte)\b|不|لا|नहीं", re.IGNORECASE)


@lru_cache(maxsize=4096)
def target_languages(question: str | None) -> frozenset[str]:
    """Return the languages named near a verb of translating or answering, outside of quotations.

    That is the nearest, and those that follow it: "into Italian and Japanese".
    """
    if not question:
        return frozenset()
    asked = _QUOTATION.sub(" ", question)
    verbs = [match.start() for match in _ASKED.finditer(asked)]
    named = list(_named(asked))
    distances = [
        min((abs(start - verb) for verb in verbs), default=NEAR + 1) for start, *_ in named
    ]
    if min(distances, default=NEAR + 1) > NEAR:
        return frozenset()
    nearest = distances.index(min(distances))
    found = {named[nearest][2]}
    for (start, stem, _), (after, _, code) in pairwise(named[nearest:]):
        between = asked[start + len(stem) : after]
        if _AS_WELL.fullmatch(between) is None or _NOT.search(between):
            break
        found.add(code)
    return frozenset(found)


@cache
def _sure_stems(languages: tuple[str, ...]) -> list[str]:
    """Return the stems of some languages' names that begin no other words."""
    return [stem for stem, code in _STEMS if code in languages and len(stem.encode()) >= SURE_STEM]


@lru_cache(maxsize=4096)  # the samples of a prompt share its question
def names_any(text: str, languages: tuple[str, ...]) -> bool:
    """Does a text name one of some languages, outside of quotations?"""
    folded = fold(text)
    if not any(map(folded.__contains__, _sure_stems(languages))):
        return False
    named = _named(_QUOTATION.sub(" ", folded))
    return any(code in languages for _, stem, code in named if len(stem.encode()) >= SURE_STEM)


def _named(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield where a language is named, by which stem, and its code."""
    folded = fold(text)
    for match in _NAMED.finditer(folded):
        begins = match.start() == 0 or not folded[match.start() - 1].isalpha()
        if begins or not match[0].isascii():
            yield match.start(), match[0], _CODES[match[0]]
