"""How eleven languages announce an answer: "the answer is", 答案是, Die Antwort lautet, …

One table, read by every verifier that finds an answer in prose. `last_announcement` looks only at
the nouns themselves (`str.rfind`), so that a long response costs little.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from filters.verify.prose.claims import MAX_BEFORE, is_supposition
from filters.verify.prose.sentences import first_sentence, last_sentence
from filters.verify.prose.surroundings import is_supposed

MAX_TAIL = 20_000
"""Characters at the end of a response where an announcement is looked for."""

MAX_TRIES = 64
MAX_OPENING = 60
"""Characters in which a text that opens with an announcement has it."""


class Phrases(NamedTuple):
    """One language's way to give an answer. All but `nouns` are regular expressions.

    nouns     what an announcement is found by, lower case
    link      what must follow the noun for the answer to come next
    choose    what stands before an option's letter that is chosen
    confirm   what follows a letter that is right
    deny      words that make the letters of their clause wrong ones
    closing   what may stand between the answer and the end of its sentence
    """

    nouns: tuple[str, ...]
    link: str
    choose: str = r"(?!)"
    confirm: str = r"(?!)"
    deny: str = r"(?!)"
    closing: str = r"(?!)"


LANGUAGES: dict[str, Phrases] = {
    "en": Phrases(
        nouns=("answer", "option", "choice"),
        link=(
            r"(?:\s+here)?\s+(?:is|was|(?:must|should|would|will|has\s+to|can\s+only)"
            r"(?:\s+(?:therefore|thus|then|hence|clearly|surely|indeed))?\s+be)\b"
            r"(?:\s*+,?\s*+(?:therefore|thus|then|hence|simply|clearly|indeed|actually|for\s+sure|"
            r"definitely|of\s+course)\b,?)*"
        ),
        choose=(
            r"\b(?:choose|chose|pick|select|go\s+with|opt\s+for|settle\s+on|choosing|selecting)"
            r"(?:\s+(?:the|option|choice|answer|letter))*"
        ),
        confirm=(
            r"(?:it\s+is\b|(?:is|was|must\s+be)\s+(?:the\s+|therefore\s+|thus\s+|indeed\s+)*"
            r"(?:(?:only|final)\s+)?(?:correct|right|true|best|answer|yes)\b|[:=]\s*(?:true|yes)\b)"
        ),
        deny=(
            r"\bnot\b|n['’]t\b|\bcannot\b|\bnor\b|\bneither\b|\bnever\b|\bnone\b|\bno\b|\bwrong\b|"
            r"\bincorrect\b|\bfalse\b|\bexclud|\beliminat|\brul(?:e|es|ed|ing)\s+out\b|\bfails?\b|"
            r"\binvalid\b|\brather\s+than\b|\binstead\s+of\b|\bunlike\b|\bother\s+than\b|"
            r"\bexcept\b|\b(?:any|every|no)thing\s+but\b|\ball\s+but\b|\bas\s+opposed\s+to\b|\bimpossible\b"
        ),
    ),
    "zh": Phrases(
        nouns=("答案", "正确选项", "正確選項"),
        link=r"】?\s*(?:应该|應該|应当|应|應|就)?(?:是|为|為|选|選)?",
        choose=r"(?:故|应|應|应该|應該|因此|所以|我)?(?:选择|選擇|选|選)(?:项|項)?(?:的是)?",
        confirm=r"(?:项|項)?(?:是|为|為)?(?:正确|正確|对的|對的|符合)",
        deny=r"不|错|錯|非|无法|排除|而非",
    ),
    "de": Phrases(
        nouns=("antwort", "antwortmöglichkeit", "lösung"),
        link=r"\s+(?:ist|lautet|wäre)\b(?:\s+(?:daher|also|somit|folglich|demnach)\b)*",
        choose=r"\b(?:wähle|wählen|nehme|richtig\s+ist|korrekt\s+ist)(?:\s+(?:antwort|option))?",
        confirm=r"ist\s+(?:daher\s+|also\s+|die\s+)*(?:richtig|korrekt|wahr)",
        deny=r"\bnicht\b|\bkein|\bfalsch|\bausgeschlossen|\b(?:an)?statt\b|\bsonst\b",
    ),
    "fr": Phrases(
        nouns=("réponse", "reponse"),
        link=(
            r"(?:\s+(?:finale|correcte|exacte|juste))?\s+(?:est|serait)\b"
            r"(?:\s+(?:donc|alors|bien)\b)*(?:\s+(?-i:la|le)\b)?"
        ),
        choose=r"\b(?:choisis|choisit|choisir|choisissons)(?:\s+(?:la|l['’]option|réponse))*",
        confirm=r"est\s+(?:donc\s+|la\s+|bonne\s+)*(?:correcte?|exacte?|juste|vraie?|réponse)",
        deny=r"\bne\b|\bn['’]|\bpas\b|\bfau(?:x|sse)\b|\bincorrect|\bplutôt\s+que\b|\bau\s+lieu\s+de\b|\bnon\b",
    ),
    "es": Phrases(
        nouns=("respuesta", "opción", "opcion"),
        link=(
            r"(?:\s+(?:final|correcta))?\s+(?:es|sería)\b"
            r"(?:\s+(?:entonces|por\s+(?:lo\s+)?tanto)\b,?)*(?:\s+(?-i:la|el)\b)?"
        ),
        choose=r"\b(?:elijo|elegimos|escojo|selecciono)(?:\s+(?:la|opción))*",
        confirm=r"es\s+(?:la\s+)?(?:correct[ao]|verdader[ao]|respuesta)",
        deny=r"\bno\b|\bincorrect|\bfals[ao]\b|\ben\s+lugar\s+de\b|\bni\b",
    ),
    "pt": Phrases(
        nouns=("resposta", "alternativa", "opção"),
        link=(
            r"(?:\s+(?:final|correta|certa))?\s+(?:é|será)(?!\w)(?:\s+(?:portanto|então)\b,?)*"
            r"(?:\s+(?-i:a|o)\b)?"
        ),
        choose=r"\b(?:escolho|escolhemos|seleciono)(?:\s+(?:a|alternativa|opção))*",
        confirm=r"é\s+(?:a\s+)?(?:corret[ao]|cert[ao]|verdadeir[ao]|resposta)",
        deny=r"\bnão\b|\bincorret|\berrad|\bfals[ao]\b|\bem\s+vez\s+de\b|\bnem\b",
    ),
    "it": Phrases(
        nouns=("risposta", "opzione"),
        link=(
            r"(?:\s+(?:finale|corretta|esatta|giusta))?\s+(?:è|e['’])(?!\w)"
            r"(?:\s+(?:quindi|dunque)\b,?)*(?:\s+(?-i:la|il)\b)?"
        ),
        choose=r"\b(?:scelgo|scegliamo|seleziono)(?:\s+(?:la|opzione|risposta))*",
        confirm=r"è\s+(?:la\s+)?(?:corrett[ao]|esatt[ao]|giust[ao]|vera|risposta)",
        deny=r"\bnon\b|\berrat|\bsbagliat|\bfals[ao]\b|\binvece\s+di\b|\bné\b",
    ),
    "ru": Phrases(
        nouns=("ответ", "ответом"),
        link=r"\s*(?:[—–-]|(?:это|является|будет|таков)(?!\w))(?:\s*(?:это|вариант)(?!\w))?",
        choose=r"\b(?:выбираю|выбираем|выбрать)(?:\s+(?:вариант|ответ))*",
        confirm=r"(?:—|–|-)?\s*(?:является\s+)?(?:верн|правильн)",
        deny=r"\bне\b|\bневерн|\bнеправильн|\bошибочн|\bвместо\b|\bни\b|\bнет\b",
    ),
    "ja": Phrases(
        nouns=("答え", "解答", "正解", "回答", "答"),
        link=r"(?:の選択肢)?(?:は|が)、?",
        choose=r"(?:選択肢)",
        confirm=r"(?:が|は)(?:正しい|正解)",
        deny=r"ではな|じゃな|でな|間違|誤り|違い|不正解|ありません",
        closing=r"(?:です|である|であります|になります|となります)",
    ),
    "ko": Phrases(
        nouns=("정답", "답변", "답"),
        link=r"\s*(?:은|는|이)(?=\s)",
        choose=r"(?:선택지|보기)",
        confirm=r"(?:번|이|가|은|는)?\s*(?:정답|맞|옳)",
        deny=r"아니|않|틀리|틀린|오답|없",
        closing=r"(?:번)?(?:입니다|이에요|예요)",
    ),
}

_MARKUP = r"[\s*_`#]*"
_COLON = rf"(?:{_MARKUP}[:：])"
_AFTER_LINK = r"[*_]*[\s:：]*"
"""The end of emphasis that holds the announcement; emphasis after a space is the answer's own."""
_HEADING = r"(?=[ \t*_]*\r?\n)"
"""A line of its own that holds nothing but the noun announces what comes below it."""


def _spellings(noun: str) -> set[str]:
    return {noun, noun.capitalize(), noun.upper()}


_NOUNS = tuple(
    sorted(
        {word for said in LANGUAGES.values() for noun in said.nouns for word in _spellings(noun)}
    )
)
_UNSPACED = ("zh", "ja", "ko")
"""Languages where an announcement may follow another word without a space."""


def _announcement(language: str, said: Phrases) -> re.Pattern[str]:
    nouns = "|".join(sorted(said.nouns, key=len, reverse=True))
    start = "" if language in _UNSPACED else r"(?<![^\W\d_])"
    qualified = r"(?:\s+(?:final|finale|correcta|correta|corretta|correcte))?"
    link = rf"{qualified}{_COLON}|{said.link}{_COLON}?"
    return re.compile(
        rf"{start}(?:{nouns})(?:(?P<link>{link})|(?P<heading>{_HEADING})){_AFTER_LINK}",
        re.IGNORECASE,
    )


_BY_INITIAL: dict[str, list[re.Pattern[str]]] = {}
"""First letter of a noun → the languages' announcements that can begin with it."""
for _language, _said in LANGUAGES.items():
    for _initial in {noun[0] for noun in _said.nouns}:
        _BY_INITIAL.setdefault(_initial, []).append(_announcement(_language, _said))
_FINAL_ANSWER = re.compile(r"(?<![^\W\d_])final\s+answer\b" + _AFTER_LINK, re.IGNORECASE)
_LINE_START = re.compile(r"[ \t#*_>]*(?:\w+[ \t]+)?")
_CLOSING = re.compile(
    rf"(?<![\s.。．!！])\s*+(?:{'|'.join(said.closing for said in LANGUAGES.values())})?"
    r"[\s.。．!！]*+$"
)

CHOOSE = re.compile("|".join(said.choose for said in LANGUAGES.values()), re.IGNORECASE)
CONFIRM = re.compile("|".join(said.confirm for said in LANGUAGES.values()), re.IGNORECASE)
DENY = re.compile("|".join(said.deny for said in LANGUAGES.values()), re.IGNORECASE)


class Announcement(NamedTuple):
    """Where an announcement's noun starts, and where the answer begins."""

    start: int
    end: int


def last_announcement(text: str) -> Announcement | None:
    """The last place in `text` that announces an answer.

    >>> text = "So the final answer is: 42"
    >>> text[last_announcement(text).end :]
    '42'
    """
    least = max(0, len(text) - MAX_TAIL)
    nouns = [noun for noun in _NOUNS if text.find(noun, least) >= 0]
    end = len(text)
    for _ in range(MAX_TRIES):
        end = max((text.rfind(noun, least, end) for noun in nouns), default=-1)
        if end < 0:
            return None
        found = announcement_at(text, end)
        if found is not None and not (is_supposed(text, end) or _would_be(text, found)):
            return found
    return None


def _would_be(text: str, found: Announcement) -> bool:
    """Whether an announcement says what the answer would be, if something were so."""
    before = last_sentence(text[max(0, found.start - MAX_BEFORE) : found.start])
    rest, _ = first_sentence(text[found.start : found.start + MAX_BEFORE])
    return is_supposition(before + rest)


def announcement_end(text: str) -> int:
    """Where the answer begins in a text that opens by announcing it, else 0.

    >>> announcement_end("The answer is B"), announcement_end("B is the answer")
    (14, 0)
    """
    head = text[:MAX_OPENING].lower()
    places = [at for noun in _NOUNS if (at := head.find(noun)) >= 0]
    found = announcement_at(text, min(places)) if places else None
    claims = found and not (is_supposed(text, found.start) or _would_be(text, found))
    return found.end if found and claims else 0


def announcement_at(text: str, noun: int) -> Announcement | None:
    """The announcement whose noun starts at `noun`, if it is one."""
    for pattern in _BY_INITIAL.get(text[noun].lower(), ()):
        found = pattern.match(text, noun)
        if found and (found["link"] is not None or _is_heading(text, noun)):
            return Announcement(noun, found.end())
    before = text.rfind("\n", 0, noun) + 1
    found = _FINAL_ANSWER.search(text, max(before, noun - 16), noun + 200)
    return Announcement(noun, found.end()) if found and found.end() > noun else None


def drop_closing(text: str) -> str:
    """An answer without the end of its sentence: です, 입니다, a full stop.

    >>> drop_closing("東京です。")
    '東京'
    """
    return _CLOSING.sub("", text, count=1)


def _is_heading(text: str, noun: int) -> bool:
    start = text.rfind("\n", 0, noun) + 1
    return bool(_LINE_START.fullmatch(text, start, noun))
