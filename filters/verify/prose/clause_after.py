"""The words of a sentence after a mark: whether they leave the claim as it is.

What usually follows an answer: a unit or a noun, a reason, another value that is denied, where it
is attained, the same value again. Everything else leaves the claim open.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from filters.verify.prose.stated_values import differ, gives_another, number_of, values_in
from filters.verify.prose.word_classes import (
    AND,
    ANSWER,
    BECAUSE,
    BUT,
    COMPARE,
    CONTRARY,
    DOUBT,
    IF,
    INSIDE,
    IS,
    IT,
    MAY,
    NOT,
    ONLY,
    OR,
    PART,
    SAYS,
    SO,
    TURN,
    WOULD,
    WRONG,
    Word,
    find_words,
    has,
)

MAX_NOUN = 6
"""Words of the noun that an answer counts, where the sentence draws no conclusion."""

_SEGMENT = re.compile(r",(?!\d{3})|(?<!\d):|:(?!\d)|[;—(（，；：、]|\s[–-]\s")
_MINUS = re.compile(r"(?<=\b[0-9A-Za-z])\s-\s(?=\d|[a-z]\b)")
_SO_FAR = re.compile(
    r"\W*(?:(?:so|thus)\s+far|up\s+to\s+now|bis\s+jetzt|bisher|jusqu['’]ici|hasta\s+ahora|até\s+agora|"
    r"finora|пока)\b|\W*(?:到目前|今のところ|지금까지)",
    re.IGNORECASE,
)
_AFTER_COMPARED = re.compile(
    r"\s*(?:以上|以下|以外|以内|未満|之间|之間|より|보다|이상|이하|미만|초과|이내|까지|"
    r"(?:与|和|と|과|와)\s*-?\d|[的の의]\s*(?:一半|半分|절반)|的\s*[两二三四五六七八九十\d]+\s*倍|の\s*\S{1,3}倍|"
    r"의\s*\S{1,2}\s*배|"
    r"除以|乘以|加上|减去|再[加减乘除]|を\S{0,3}(?:割|引|足|掛|倍)|[를을]\s*\S{0,3}(?:나누|빼|더하|곱하))"
)
_OTHER = re.compile(
    r"\W{0,8}(?P<word>as\s+well\s+as|[^\W\d_]+|[和与及或]|か)\s*(?:(?:also|even|maybe|perhaps|"
    r"possibly|equivalently|about|"
    r"approximately|simply|auch|aussi|también|também|"
    r"anche)\s+)?[$\\(\s]*(?P<value>[-−]?\\?d?frac\{?\d+\}?"
    r"\{?\d+\}?|[-−]?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?\\?%?|[a-z]\s*=)?",
)
_IS_THE_ANSWER = re.compile(
    r"\W*(?:is|are|must\s+be|ist|sind|est|es|é|è|[—–-])\s*"
    r"(?:(?:indeed|therefore|thus|hence|then|also|in\s+fact|daher|also|donc|entonces|portanto|"
    r"quindi)\s+)?"
    r"(?:the|our|my|die|das|der|unsere|la|le|notre|el|nuestra|il|lo|a|o|l['’])\s*"
    r"(?:final|correct|right|only|unique|desired|required|smallest|largest|least|greatest|"
    r"minimum|maximum|"
    r"answer|solution|result|value|number\s+we|antwort|lösung|richtige|einzige|gesuchte|"
    r"kleinste|größte|first|last|closest|nearest|winner|[a-z]{3,}est\b|"
    r"réponse|bonne|seule|valeur|plus|respuesta|solución|única|resposta|solução|risposta|"
    r"soluzione|unica)|"
    r"\W*(?:is|are|ist|est|es|é|è)\s+(?:indeed\s+|therefore\s+|also\s+|donc\s+)?(?:right|"
    r"correct|true|richtig|"
    r"korrekt|correcte?|juste|exacte?|correct[oa]|corret[oa]|corrett[oa])(?!\w)|"
    r"\W*(?:является\s+)?(?:ответ|решени)|\W*(?:it\s+is|works|suffices|convient|passt|"
    r"funktioniert|funciona|"
    r"funziona|подходит|remains?|are\s+left|bleiben|restent|quedan|restano)\W*$",
    re.IGNORECASE,
)
_VERB = frozenset(
    """
    is are was were isn has have had cannot can could may might must should would will won does do
    did
    remains remain seems looks appears comes came gives gave leads turns minus plus times
    ist sind war wäre passt scheint bleibt kann muss
    n est serait semble reste peut es sería parece queda puede é seria pode è sarebbe sembra
    resta può
    был была было быть остаётся остается кажется слишком too mal fois veces vezes volte
    """.split()  # noqa: SIM905 -- a table of words is read as prose
)
_THAN_NUMBER = re.compile(r"(?:than|als|que|di|de|чем)\s+[$\s]*\d", re.IGNORECASE)
_TIMES_NUMBER = re.compile(r"\W*\w+\s+[$\s]*\d")
_EXACTLY = frozenset(
    ["exactly", "just", "namely", "attained", "when", "where", "at", "with", "genau"]
)
_USUAL = frozenset(
    """
    exactly just namely attained reached achieved obtained found rounded written expressed measured
    respectively i e qed done desired required claimed expected counting including after before per
    compared genau gerundet erreicht nämlich atteint arrondi alcanzado alcançado raggiunto see
    """.split()  # noqa: SIM905 -- a table of words is read as prose
)
_DENIED_NUMBER = re.compile(r"\W*\w+(?:\s+[a-z]+)?\s+[$\\(]*-?\d")
_NEXT_PART = re.compile(r"[(（]\s*(?:b|B|2|ii)\s*[)）]|(?<![\w(])b\)")
_TUPLE = re.compile(
    r"(?<=[A-Za-z])\((?:[^()]|\([^()]*\)){1,30}\)"
    r"|\((?=[^()]+[-+*/^])(?:[-+*/^=,\d\s.]|\b[A-Za-z]\b){3,30}\)"
    r"|\(\s*(?:[A-Za-z]|-?\d[\d.]*)(?:\s*,\s*(?:[A-Za-z]|-?\d[\d.]*))+\s*\)"
)
"""(a, c), (2x - 3)^2, f(x) and P(G(a)): their brackets and commas divide no sentence."""

_LISTED = re.compile(r":((?:\s*-?\d[\d^]*\s*(?:,\s*and\b|,|and\b|\.?\s*$))+)\s*\.?\s*$")
_DENIED_AFTER = re.compile(
    r",?\s*but\s+-?\d[\d.,/]*\s+(?:is|does|are|do)(?:\s+not|n['’]t)\b"
    r"(?:\s+(?:enough|possible|allowed|valid|prime|sufficient|one))?\s*$"
)
NO_MORE = re.compile(
    r",?\s*(?:no\s+more\s*,?\s*(?:and\s+|but\s+|or\s+)?no\s+(?:less|fewer)|"
    r"no\s+(?:less|fewer)\s*,?\s*(?:and\s+|but\s+|or\s+)?no\s+more|nicht\s+mehr\s+und\s+nicht\s+weniger|"
    r"ni\s+plus\s+ni\s+moins|ni\s+más\s+ni\s+menos|né\s+più\s+né\s+meno|nem\s+mais\s+nem\s+menos)"
    r"(?=\W*$)",
    re.IGNORECASE,
)
"""What says that an answer is exact, in words that deny and compare."""
_APPOSED = re.compile(
    r"\s*(?:(?:the|our)\s+(?:only|first|last|unique|final|desired|required|[a-z]+est|answer)\b"
    r"|(?:which\s+(?:is\s+)?)?(?:achieved|attained|occurs|happens|independent|regardless|satisfying)\b"
    r"|one\s+(?:for|per)\b)",
    re.IGNORECASE,
)
_MET = frozenset(["i", "my", "we", "tried", "tested", "seen", "checked", "printed", "guessed"])
_NOUNS = frozenset(
    """
    integer integers number numbers prime primes multiple multiples value values divisor divisors
    factor factors solution solutions square squares cube cubes term terms
    """.split()  # noqa: SIM905 -- a table of words is read as prose
)
_SEE = re.compile(r"\s*(?:(?:see|siehe|voir|ver|véase|vedi|см)\b|即)", re.IGNORECASE)
_OVER = frozenset(["times", "mal", "fois", "veces", "vezes", "volte"])
_NOT_INSTEAD = re.compile(r"\s+(?:of|than|de|di)\b|\s*['’]", re.IGNORECASE)


def is_doubtful_after(rest: str, text: str, *, bare: bool, concluded: bool) -> bool:
    if not any(map(str.isalnum, rest)):
        return False
    if _AFTER_COMPARED.match(rest.lstrip(" )]")) is not None:
        return True
    rest = _MINUS.sub("-", _TUPLE.sub(" x ", NO_MORE.sub("", rest)))
    if not any(map(str.isalnum, rest)):
        return False
    if _SO_FAR.match(rest) is not None:
        return True
    if _NEXT_PART.search(rest) is not None:
        return True
    other = _offers_another(rest, text)
    if other is not None:
        return other
    rest = _DENIED_AFTER.sub("", _without_list(rest, text))
    segments = [part for part in _SEGMENT.split(rest) if any(map(str.isalnum, part))]
    attached = bool(segments) and rest.lstrip(" )]").startswith(segments[0].lstrip(" )]")[:1])
    if attached:
        words = find_words(segments[0])
        claims = _IS_THE_ANSWER.match(segments[0]) is not None and not _is_shaky(words)
        if bare and not claims and has(find_words(rest), ONLY):
            return True
        if bare and _is_doubtful_subject(segments[0], words, rest, concluded):
            return True
        if any({IF, SAYS} & word.classes and word.text[0] >= "\u3000" for word in words):
            return True
        than = _THAN_NUMBER.search(segments[0])
        before = [word for word in words if than is not None and word.start < than.start()]
        if (
            (than is not None and not (has(before, INSIDE) or claims or _compares_noun(before)))
            or (bare and has(words[:3], COMPARE))
            or _takes_part(segments[0], words)
        ):
            return True
        if (_restricts(words) and not claims) or _gives_other_number(segments[0], text):
            return True
        against = bare and not claims and any({NOT, WRONG} & word.classes for word in words)
        if against or denies_plainly(words, segments[0]):
            return True
    for part in segments[attached:]:
        if _is_doubtful_aside(part, text):
            return True
        first = find_words(part)[:1]
        if first and (BECAUSE in first[0].classes or first[0].text.lower() in _EXACTLY):
            return False  # the rest of the sentence belongs to it
    return False


def _is_doubtful_subject(verb: str, words: Sequence[Word], rest: str, concluded: bool) -> bool:
    """Whether a sentence whose subject is the answer says anything but that it is the answer."""
    if _IS_THE_ANSWER.match(verb) is not None and not _is_shaky(words):
        return False
    if not words:
        return False
    if words[0].text.lower() in _VERB or words[0].classes & {IS, NOT, WOULD, MAY}:
        return True
    return not concluded and (has(words, IS) or len(find_words(rest)) > MAX_NOUN)


def _gives_other_number(segment: str, text: str) -> bool:
    """Whether the answer's place is taken by another number: "… to 40", "… sind es 40"."""
    said = segment.split()
    if not (2 <= len(said) <= 3 and said[0].isalpha() and said[-1].isdigit()):
        return False
    tied = said[-2] != "to" and has(find_words(said[-2]), INSIDE)
    return not tied and gives_another(segment, text)


def _without_list(rest: str, text: str) -> str:
    """Without the list of what an answer counts or sums: 4 primes: 2, 3, 5 and 7."""
    wanted, parts = number_of(text), rest.rpartition(":")
    numbers = [value for value in map(number_of, values_in(parts[2])) if value is not None]
    if parts[1] and len(numbers) > 1 and sum(numbers) == wanted:
        return parts[0]
    listed = _LISTED.search(rest)
    if listed is None:
        return rest
    count = len(re.findall(r"-?\d[\d^]*", listed[1]))
    return rest[: listed.start()] if number_of(text) == count else rest


def _is_shaky(words: Sequence[Word]) -> bool:
    """Whether "the largest …" goes on to say that it was only met: that fails, that I tried."""
    return any(WRONG in word.classes or word.text.lower() in _MET for word in words)


def _compares_noun(before: Sequence[Word]) -> bool:
    """Whether "less than 50" says which of the things that a number counts: integers less than."""
    return len(before) > 1 and before[-2].text.lower() in _NOUNS and COMPARE in before[-1].classes


def _restricts(words: Sequence[Word]) -> bool:
    """Whether a word restricts the claim: not "with only odd digits", "as the only root"."""
    for at, word in enumerate(words):
        if ONLY in word.classes:
            before = words[at - 1] if at else None
            return not (before and (INSIDE in before.classes or before.text.lower() == "the"))
    return False


def _takes_part(segment: str, words: Sequence[Word]) -> bool:
    """Whether what follows the answer makes another value of it: "minus two", "times 3"."""
    first = words[0] if words else None
    if first is None or PART not in first.classes or segment[: first.start].strip(" )"):
        return False
    if first.text.lower() in ("multiples", "quarters", "squares", "thirds"):
        return False  # 8 multiples of 20
    times = first.text.lower() in _OVER
    return first.text.lower() != "square" and (not times or bool(_TIMES_NUMBER.match(segment)))


def denies_plainly(words: Sequence[Word], text: str) -> bool:
    """Whether a word denies, doubts or contrasts, outside of what describes a noun in `text`."""
    inside = False
    for at, word in enumerate(words):
        following = words[at + 1] if at + 1 < len(words) else None
        describes = at > 0 and following is not None and (
            INSIDE in following.classes or following.text.endswith(("ing", "ed"))
        )  # fmt: skip
        if at and _is_plural(words[at - 1]) and _describes(words[at:]):
            continue
        if BUT in word.classes:
            denied = following is not None and NOT in following.classes and at > 0
            if not denied and _NOT_INSTEAD.match(text, word.end) is None:
                return True
        elif DOUBT in word.classes or (
            {NOT, WRONG, TURN} & word.classes
            and not inside
            and not (describes and NOT in word.classes)
        ):
            return True
        inside = inside or INSIDE in word.classes
    return has(words, IF) and (has(words, CONTRARY) or has(words, NOT))


def _is_plural(noun: Word) -> bool:
    """Whether a word may be the noun that an answer counts: 20 kids."""
    text = noun.text.lower()
    return len(text) > 3 and text[-1] == "s" and not noun.classes and text not in _VERB


def _describes(words: Sequence[Word]) -> bool:
    """Whether a denial is about the noun before it: kids not allergic to milk, answers wrong."""
    if WRONG in words[0].classes:
        return len(words) == 1
    plain = len(words) > 1 and words[1].text.isalpha() and not words[1].classes
    return NOT in words[0].classes and words[0].text == "not" and plain


def _is_doubtful_aside(part: str, text: str) -> bool:
    """Whether a later part of the sentence doubts the answer: not if it denies another value, or
    gives a reason."""
    words = find_words(part)
    numbers = values_in(part)
    if words and {NOT, COMPARE} & words[0].classes and _DENIED_NUMBER.match(part):
        return not differ(text, numbers[0])
    if words and BECAUSE in words[0].classes:
        return any(word.text == "I" for word in words) and denies_plainly(words, part)
    if has(words, WRONG) or (
        denies_plainly(words, part)
        and not (INSIDE in words[0].classes and words[0].text != "which")
    ):
        return True
    other = _OTHER.match(part)
    if (
        other is not None
        and other["value"]
        and OR in _classes_of(other)
        and differ(text, other["value"])
    ):
        return True
    if any(word.text in ("I", "please") for word in words):
        return not has(words, SAYS)
    apposed = _APPOSED.match(part) is not None and not _is_shaky(words)
    if _SEE.match(part) is not None or apposed:
        return False
    if _leaves_open(part, words, text):
        return True
    if not words or has(words, COMPARE):
        return not words and gives_another(part, text)
    return words[0].text.lower() not in _EXACTLY and gives_another(part, text)


def _leaves_open(part: str, words: Sequence[Word], text: str) -> bool:
    """Whether a later part of a sentence is none of what usually follows an answer: where it is
    attained, what it means, that it is done, the same value again."""
    unit = (
        len(words) <= 2 and not any(map(str.isdecimal, part)) and not any(w.classes for w in words)
    )
    if not words or words[0].text[0] >= "\u3000" or unit:
        return False
    first = words[0]
    usual = {BECAUSE, INSIDE, SO, AND, OR, IT, ANSWER, IS, COMPARE, NOT} & first.classes
    return not (usual or first.text.lower() in _USUAL or "=" in part or text in part)


def _offers_another(rest: str, text: str) -> bool | None:
    """Whether "or", "and" with a value offers another one than the answer; None without them."""
    found = _OTHER.match(rest)
    if found is None:
        return None
    classes, value = _classes_of(found), found["value"]
    if OR in classes:
        return value is None or number_of(value) is None or number_of(text) != number_of(value)
    if (AND in classes or found["word"].startswith("as ")) and value is not None:
        return True
    return None


def _classes_of(found: re.Match[str]) -> set[str]:
    return {name for word in find_words(found["word"] + "1") for name in word.classes}
