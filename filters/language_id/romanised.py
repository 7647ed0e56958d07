"""Derive word lists of romanised languages from the lists in their own script.

A model that is rewarded for a Latin alphabet may write Russian, Hindi or Chinese in it. Cyrillic,
Greek, Hangul and kana go over letter by letter; Devanagari loses its silent vowels as people write
it; Chinese is the syllables of pinyin. What no rule can read (Han letters, unwritten Arabic vowels)
is a short list.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterator, Mapping

ROMANISED = {
    "ru-Latn": "ru",
    "uk-Latn": "uk",
    "bg-Latn": "bg",
    "el-Latn": "el",
    "hi-Latn": "hi",
    "zh-Latn": "zh",
    "ja-Latn": "ja",
    "ko-Latn": "ko",
    "ar-Latn": "ar",
}
"""The language codes (BCP 47), and whose words they write."""


def _cut(text: str) -> list[str]:
    """Split at single spaces; two in a row enclose an empty string."""
    return text.split(" ")


_CYRILLIC = dict(
    zip(
        "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
        _cut("a b v g d e yo zh z i y k l m n o p r s t u f kh ts ch sh shch  y  e yu ya"),
        strict=True,
    )
)
_LETTERS = {
    "ru": _CYRILLIC,
    "uk": {**_CYRILLIC, "г": "h", "и": "y", "і": "i", "ї": "yi", "є": "ye", "ґ": "g"},
    "bg": {**_CYRILLIC, "щ": "sht", "ъ": "a", "х": "h"},
    "el": dict(
        zip(
            "αβγδεζηθικλμνξοπρσςτυφχψω",
            _cut("a v g d e z i th i k l m n x o p r s s t y f ch ps o"),
            strict=True,
        )
    ),
}
_SECOND = {"ru": {"х": "h", "й": "j", "ю": "ju", "я": "ja", "ц": "c"}, "uk": {}, "bg": {}, "el": {}}
"""A second habit of writing some of the letters."""

_INITIALS = _cut("g kk n d tt r m b pp s ss  j jj ch k t p h")
_VOWELS = _cut("a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i")
_FINALS = _cut(" k k k n n n t l k m l l l p l m p p t t ng t t k t p t")

_BEFORE_NASAL = {"k": "ng", "t": "n", "p": "m"}

_KANA_VOWELS = "aiueo"
_KANA = {
    "": "あいうえお", "k": "かきくけこ", "g": "がぎぐげご", "s": "さしすせそ", "z": "ざじずぜぞ",
    "t": "たちつてと", "d": "だぢづでど", "n": "なにぬねの", "h": "はひふへほ", "b": "ばびぶべぼ",
    "p": "ぱぴぷぺぽ", "m": "まみむめも", "y": "や ゆ よ", "r": "らりるれろ", "w": "わ   を",
}  # fmt: skip
_HEPBURN = {"si": "shi", "ti": "chi", "tu": "tsu", "hu": "fu", "zi": "ji", "di": "ji", "du": "zu"}

_DEVANAGARI = {
    **dict(zip("कखगघङचछजझञ", _cut("k kh g gh n ch chh j jh n"), strict=True)),
    **dict(zip("टठडढणतथदधन", _cut("t th d dh n t th d dh n"), strict=True)),
    **dict(zip("पफबभमयरलवशषसह", _cut("p ph b bh m y r l v sh sh s h"), strict=True)),
}
_MATRAS = dict(zip("ािीुूृेैोौ", _cut("a i i u u ri e ai o au"), strict=True))
_INDEPENDENT = dict(zip("अआइईउऊऋएऐओऔ", _cut("a aa i i u u ri e ai o au"), strict=True))

_PINYIN = {
    "": "a ai an ang ao e en er ou yi ya yao ye you yan yang yin ying yong yu yue yuan yun "
    "wu wa wo wai wei wan wen wang weng",
    "b p m": "a o ai ei ao an en ang eng i ie iao ian in ing u",
    "f": "a o ei ou an en ang eng u",
    "d t n l": "a e ai ei ao ou an ang eng ong i ie iao iu ian ing u uo uan un",
    "g k h": "a e ai ei ao ou an en ang eng ong u ua uo uai ui uan un uang",
    "j q x": "i ia ie iao iu ian in iang ing iong u ue uan un",
    "zh ch sh r": "a e i ai ao ou an en ang eng ong u ua uo uai ui uan un uang",
    "z c s": "a e i ai ao ou an en ang eng ong u uo ui uan un",
}

_COMMON = {
    "zh": """women nimen tamen zhege nage zheyang suoyi yinwei ruguo name ranhou shouxian zuihou
        dengyu jiushi keyi bushi meiyou shenme zenme duoshao yigong dedao daan jieguo wenti shuzi
        jisuan jiangu xuyao yinggai women xianzai zaikan qilai jian jia cheng chuyi liangge yige
        sange dierge diyi dier bian liangbian zhengshu fushu buneng keneng dou haishi danshi
        erqie huozhe bingqie yushi suoqiu hen ji kanyixia rang jiancha zongshu pingguo""",
    "ja": """kazu kotae tsugi mazu futatsu hitotsu mittsu ryouhen atai shiki mondai keisan seikai
        kekka warizan tashizan hikizan kakezan soshite dakara desu masu kara made sore kore are
        tashite hiite kakete watte waru tasu kakeru hiku sukoshi mou ichido tadashii tadashikunai
        narimasen shitagatte yotte naze node dewa dakedo shikashi ni juu juuni san yon go roku
        nana hachi kyuu sei no ha wa wo ga to de mo hazu nakereba suru shimasu arimasu""",
    "hi": """hai hain mein main hum ham aap woh yeh ye kya kyunki kyonki isliye nahi nahin aur ya
        phir fir pehle pahle baad dono teen chaar paanch do ek ko ka ki ke se par bhi hi to toh jo
        jab tab agar lekin magar sabse ab yahan wahan hota hoti hoga hogi karte karna karke karo
        dekhte dekho jodte jodna bhaag guna ghata sankhya uttar jawab sawaal prashna barabar
        doosra doosri dusra pehla pehli dobara galat sahi matlab chahiye sakte sakta milta milega
        kul hamein hame humein unka iska uska unke iske uske wala wale apna kitne kitna shart
        taraf barah das bees deta deti dete lagta raha rahe rahi tha thi the""",
    "ar": """al ala fi min ila an inna anna hadha hadhihi dhalik alladhi allati huwa hiya nahnu kana
        yakun laysa la ma lam lan qad kull bayna bada ba'd qabla inda ma'a aw thumma idha haythu
        lianna lakin kama aydan faqat alaan huna idhan lidhalik wa wahuwa wahiya najma naqsim
        nadrib natrah nahsul nazur nanzur awwalan thaniyan akhiran aljawab jawab natija alnatija
        adad aladad adadayn alrakam majmu almajmu yusawi nisf ithnayn ithna thalatha arbaa khamsa
        ashar ashara khata sahih marra ukhra shart qima alqima masala alhall hall yajib yumkin
        aan ash ath ar as at""",
}
_COMMON_FREQUENCY = 2e-3


def romanised(language: str, words: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Yield the words of a language in Latin letters and their frequencies."""
    for word in _COMMON.get(language, "").split():
        yield word, _COMMON_FREQUENCY
    if language == "zh":
        syllables = list(_syllables())
        yield from ((syllable, 1 / len(syllables)) for syllable in syllables)
        return
    for word, frequency in words.items():
        for latin in _spellings(language, word):
            if latin.isascii() and latin.isalpha():
                yield latin, frequency


def _spellings(language: str, word: str) -> Iterator[str]:
    if language in _LETTERS:
        plain = _without_accents(word) if language == "el" else word
        for table in ({}, _SECOND[language]) if _SECOND[language] else ({},):
            letters = {**_LETTERS[language], **table}
            yield "".join(letters.get(letter, letter) for letter in plain)
    elif language == "ko":
        yield _hangul(word)
    elif language == "ja":
        yield _kana(word)
    elif language == "hi":
        yield _hindi(word)


def _without_accents(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))


def _syllables() -> Iterator[str]:
    for initials, finals in _PINYIN.items():
        for initial, final in itertools.product(initials.split() or [""], finals.split()):
            yield initial + final


def _hangul(word: str) -> str:
    """Romanise Hangul (Revised Romanization; of assimilation, that before n and m)."""
    latin = ""
    for letter in word:
        code = ord(letter) - 0xAC00
        if not 0 <= code < 11172:
            return ""
        initial, rest = divmod(code, 588)
        vowel, final = divmod(rest, 28)
        if _INITIALS[initial] in ("n", "m") and latin.endswith(("k", "t", "p")):
            latin = latin[:-1] + _BEFORE_NASAL[latin[-1]]
        latin += _INITIALS[initial] + _VOWELS[vowel] + _FINALS[final]
    return latin


def _kana_table() -> dict[str, str]:
    table = {}
    for consonant, row in _KANA.items():
        for vowel, letter in zip(_KANA_VOWELS, row, strict=False):
            syllable = consonant + vowel
            table[letter] = _HEPBURN.get(syllable, syllable)
    return {**table, "ん": "n", "を": "o"}


_KANA_LATIN = _kana_table()


def _kana(word: str) -> str:
    """Romanise kana (Hepburn). Return an empty string for other letters."""
    latin = ""
    doubled = False
    for letter in word:
        if 0x30A1 <= ord(letter) <= 0x30F6:
            letter = chr(ord(letter) - 0x60)
        if letter == "っ":
            doubled = True
            continue
        if letter in "ゃゅょ" and latin.endswith("i"):
            vowel = "auo"["ゃゅょ".index(letter)]
            soft = latin[:-1].endswith(("sh", "ch", "j"))
            latin = latin[:-1] + ("" if soft else "y") + vowel
            continue
        if letter not in _KANA_LATIN:
            return ""
        syllable = _KANA_LATIN[letter]
        latin += (syllable[0] if doubled else "") + syllable
        doubled = False
    return latin


def _hindi(word: str) -> str:
    """Romanise Hindi as people type it: without silent vowels."""
    latin = ""
    letters = unicodedata.normalize("NFC", word).replace("\u093c", "")
    for place, letter in enumerate(letters):
        after = letters[place + 1] if place + 1 < len(letters) else ""
        if letter in _DEVANAGARI:
            latin += _DEVANAGARI[letter]
            if after in _DEVANAGARI or (after in "ंँ" and after):
                following = letters[place + 2] if place + 2 < len(letters) else ""
                silent = place > 0 and following in _MATRAS and latin[-2:-1] in "aeiou"
                latin += "" if silent else "a"
        elif letter in _MATRAS:
            latin += _MATRAS[letter]
        elif letter in _INDEPENDENT:
            latin += _INDEPENDENT[letter]
        elif letter in "ंँ":
            latin += "n"
        elif letter != "्":
            return ""
    return latin
