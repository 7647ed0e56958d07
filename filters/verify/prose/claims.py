"""Whether a sentence claims the answer that is marked in it.

Not by phrases, which nobody could list, but by how classes of words act on a claim:

- before the mark, in its own clause, nothing denies, doubts, supposes, compares, reports or takes a
  part of it. A denial in a noun phrase is about the noun ("the number of n not divisible by 3 is");
- after it, in its sentence, stand a unit or a noun, a reason, a denied other value ("not 13"); no
  contrast, no other value, no verdict on the answer.

What is doubtful claims nothing: a refused answer costs a sample, a wrong one spoils the corpus.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

from filters.verify.prose.sentences import first_sentence, last_sentence, plain
from filters.verify.prose.stated_values import differ, gives_another, number_of, values_in
from filters.verify.prose.word_classes import (
    AND,
    ANSWER,
    BECAUSE,
    BUT,
    COMPARE,
    CONTRARY,
    DOUBT,
    DRAFT,
    IF,
    INSIDE,
    IS,
    IT,
    LEADS,
    MAY,
    NOT,
    OR,
    PART,
    SAYS,
    SO,
    THAT,
    TRY,
    TURN,
    WOULD,
    WRONG,
    Word,
    find_words,
)

MAX_BEFORE = 400
MAX_AFTER = 4_000
"""Characters read before and after a mark; of a longer text also as many at its end."""


_ASIDE = re.compile(r"\([^()]*\)|（[^（）]*）")
_CLAUSE = re.compile(
    r"[,;，；、—]|\s[–-]\s|(?P<contrast>而是|(?:では|じゃ)なく|아니라)|므로|니까|으니|때문에"
)
_SEGMENT = re.compile(r"[,;:—(（，；：、]|\s[–-]\s")
_DENIED_BUT = re.compile(r"(?:any|every|no)thing\s*$|(?:all|none)\s*$", re.IGNORECASE)
CROSS = re.compile(r"[✗✘❌👎]")
_ASKED = re.compile(r"[?？]|吗[。]?\s*$|でしょうか|ですか")
_AFTER_COMPARED = re.compile(
    r"\s*(?:以上|以下|以外|以内|未満|之间|之間|より|보다|이상|이하|미만|초과|이내|까지|"
    r"(?:与|和|と|과|와)\s*-?\d|[的の의]\s*(?:一半|半分|절반)|的\s*[两二三四五六七八九十\d]+\s*倍|の\s*\S{1,3}倍|의\s*\S{1,2}\s*배|"
    r"除以|乘以|加上|减去|再[加减乘除]|を\S{0,3}(?:割|引|足|掛|倍)|[를을]\s*\S{0,3}(?:나누|빼|더하|곱하))"
)
_OTHER = re.compile(
    r"\W{0,8}(?P<word>as\s+well\s+as|[^\W\d_]+|[和与及或]|か)\s*(?:(?:also|even|maybe|perhaps|possibly|equivalently|about|"
    r"approximately|simply|auch|aussi|también|também|anche)\s+)?[$\\(\s]*(?P<value>[-−]?\\?d?frac\{?\d+\}?"
    r"\{?\d+\}?|[-−]?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?\\?%?|[a-z]\s*=)?",
)
_IS_THE_ANSWER = re.compile(
    r"\W*(?:is|are|must\s+be|ist|sind|est|es|é|è|[—–-])\s*"
    r"(?:(?:indeed|therefore|thus|hence|then|also|in\s+fact|daher|also|donc|entonces|portanto|quindi)\s+)?"
    r"(?:the|our|my|die|das|der|unsere|la|le|notre|el|nuestra|il|lo|a|o|l['’])\s*"
    r"(?:final|correct|right|only|unique|desired|required|smallest|largest|least|greatest|minimum|maximum|"
    r"answer|solution|result|value|number\s+we|antwort|lösung|richtige|einzige|gesuchte|kleinste|größte|"
    r"réponse|bonne|seule|valeur|plus|respuesta|solución|única|resposta|solução|risposta|soluzione|unica)|"
    r"\W*(?:is|are|ist|est|es|é|è)\s+(?:indeed\s+|therefore\s+|also\s+|donc\s+)?(?:right|correct|true|richtig|"
    r"korrekt|correcte?|juste|exacte?|correct[oa]|corret[oa]|corrett[oa])(?!\w)|"
    r"\W*(?:является\s+)?(?:ответ|решени)|\W*(?:it\s+is|works|suffices|convient|passt|funktioniert|funciona|"
    r"funziona|подходит|remains?|are\s+left|bleiben|restent|quedan|restano)\W*$",
    re.IGNORECASE,
)
_VERB = frozenset(
    """
    is are was were isn has have had cannot can could may might must should would will won does do
    did
    remains remain seems looks appears comes came gives gave leads turns minus plus times
    ist sind war wäre passt scheint bleibt kann muss
    est serait semble reste peut es sería parece queda puede é seria pode è sarebbe sembra resta può
    был была было быть остаётся остается кажется слишком too mal fois veces vezes volte
    """.split()  # noqa: SIM905 -- a table of words is read as prose
)
_THAN_NUMBER = re.compile(r"(?:than|als|que|di|de|чем)\s+[$\s]*\d", re.IGNORECASE)
_TIMES_NUMBER = re.compile(r"\W*\w+\s+[$\s]*\d")
_MAYBE = frozenset(["look", "also", "well", "equal", "ser", "être", "sein", "essere"])
_EXCLAIMED = re.compile(r"\s*(?:no|nope|wait|nein|non|não|нет|不|不对|いや|아니)\s*", re.IGNORECASE)
_ERRORS = frozenset(["error", "errors", "fehler", "erreur", "errore", "erro", "ошибка"])
"""A relative error is a value like any other."""
_COUNTED = re.compile(r"[$\s)}\]\\]*(?!(?:here|there)\b)(?:[^\W\d_]{2}|[\u3040-\uffff])")
_LEAST = frozenset(
    [
        "least",
        "most",
        "mindestens",
        "höchstens",
        "moins",
        "menos",
        "almeno",
        "menor",
        "至少",
        "至多",
        "少なくとも",
        "적어도",
    ]
)
_SELF = frozenset("i we ich wir je nous j yo я мы io eu".split())  # noqa: SIM905
_EXACTLY = frozenset(
    ["exactly", "just", "namely", "attained", "when", "where", "at", "with", "genau"]
)
_DENIED_NUMBER = re.compile(r"\W*\w+(?:\s+[a-z]+)?\s+[$\\(]*-?\d")
_OF = frozenset(["of", "von", "de", "di", "от"])
_INDEFINITE = re.compile(
    r"\s*(?:a(?=\s[^é]*\bis\b)|an|one|another|some|ein|eine|un|une|una|uno|um|uma)\s(?!answer)[^\W\d_]{3}",
    re.IGNORECASE,
)
_COPULAS = ("is", "are", "ist", "sind", "est", "es ", "é ", "è ", "son ", "sono")
_NEXT_PART = re.compile(r"[(（]\s*(?:b|B|2|ii)\s*[)）]|(?<![\w(])b\)")
_SEE = re.compile(r"\s*(?:(?:see|siehe|voir|ver|véase|vedi|см)\b|即)", re.IGNORECASE)
_OVER = frozenset(["times", "mal", "fois", "veces", "vezes", "volte"])
_NOT_INSTEAD = re.compile(r"\s+(?:of|than|de|di)\b|\s*['’]", re.IGNORECASE)


def is_claimed(before: str, after: str, text: str) -> bool:
    """Whether the sentence around a mark claims the `text` that it holds.

    `before` and `after` are what stands around the mark in the response.

    >>> is_claimed("So the answer is ", ".", "12"), is_claimed("It is at least ", ".", "12")
    (True, False)
    >>> is_claimed("", " is too small.", "12"), is_claimed("It is ", ", not 13.", "12")
    (False, True)
    """
    head = plain(last_sentence(before[-MAX_BEFORE:]))
    rest, mark = first_sentence(after[:MAX_AFTER])
    if _ASKED.search(mark) is not None or _ASKED.search(rest[-12:]) is not None:
        return False
    if CROSS.search(rest) is not None or CROSS.match(after[len(rest) + len(mark) :].lstrip()):
        return False
    words = find_words(_ASIDE.sub(lambda aside: " " * len(aside[0]), head))
    clause = _last_clause(head, words)
    counted = _COUNTED.match(rest) is not None and not has(find_words(rest)[:1], INSIDE)
    if _is_doubtful_head(head, words, clause, counted=counted):
        return False
    said = [word for word in words if word.start >= clause]
    piece = max(head.rfind(mark, 0, len(head.rstrip(" ,，"))) for mark in ",，;；—") + 1
    lead = [word for word in words if word.start >= min(clause, piece)]
    bare = (
        all({SO, AND} & word.classes for word in lead)
        and not set("=:：") & set(head[clause:])
        and (bool(said) or not any(map(str.isalnum, head[clause:])))
    )
    concluded = any(SO in word.classes for word in words)
    return not _is_doubtful_rest(plain(rest), text, bare=bare, concluded=concluded)


def is_supposition(sentence: str) -> bool:
    """Whether a sentence says what would be if something were so."""
    words = find_words(plain(sentence))
    return has(words, WOULD) and (has(words, IF) or has(words, CONTRARY))


def _last_clause(head: str, words: Sequence[Word]) -> int:
    """Where the clause starts that leads up to the mark."""
    start = 0
    for cut in _CLAUSE.finditer(head):
        exclaimed = _EXCLAIMED.fullmatch(head[: cut.start()]) is not None
        if not cut["contrast"] and not exclaimed and not head[cut.end() :].strip():
            continue
        following = [word for word in words if word.start >= cut.end()][:1]
        before = [word for word in words if word.end <= cut.start()][-1:]
        reported = (has(following, THAT) or has(before, SAYS)) and not head[
            cut.end() : following[0].start
        ].strip()
        start = start if reported else cut.end()
    for colon in re.finditer("[:：]", head):
        if re.search(r"[^\W\d_]{2}", head[colon.end() :]) is not None:
            start = max(start, colon.end())
    for word in words:
        if SO in word.classes and AND not in word.classes and word.text.lower() != "in":
            start = max(start, word.start)
        but = BUT in word.classes and COMPARE not in word.classes
        if (
            but
            and _DENIED_BUT.search(head, 0, word.start) is None
            and word.end < len(head.rstrip())
        ):
            start = max(start, word.end)
    last = max((word.end for word in words if BUT in word.classes), default=-1)
    if last >= 0 and not head[last:].strip() and _DENIED_BUT.search(head[:-3]) is None:
        contrast = [word for word in words if word.end == last and COMPARE not in word.classes]
        start = max([start, *(word.end for word in contrast)])
    return start


def _is_doubtful_head(head: str, words: Sequence[Word], clause: int, *, counted: bool) -> bool:
    """Whether the words before a mark do not claim it; `counted`: a noun follows the mark."""
    said = [word for word in words if word.start >= clause]
    earlier = [word for word in words if word.start < clause]
    if earlier and all(DOUBT in word.classes for word in earlier):
        return True  # "Maybe, the answer is …"
    if has(said, WOULD) and (has(words, IF) or has(words, CONTRARY)):
        return True
    concluded = bool(said) and SO in said[0].classes
    supposed = next((at for at, word in enumerate(words) if IF in word.classes), None)
    if supposed is not None and not concluded and has(words[supposed:], NOT):
        return True
    saying = next((at for at, word in enumerate(said) if SAYS in word.classes), None)
    own = saying is None or any(word.text.lower() in _SELF for word in said[:saying])
    if not own and any({IS, THAT} & word.classes for word in said[saying or 0 :]):
        return True
    if has(said, IF) or (not counted and any(SAYS in word.classes for word in said[-2:])):
        return True
    link = max(
        [head.rfind("=", clause), head.rfind(":", clause), head.rfind("：", clause)]
        + [word.start for word in said if IS in word.classes]
    )
    if any(
        MAY in word.classes
        and (following is None or following.start == link or following.text in _MAYBE)
        for word, following in zip_longest(said, said[1:])
    ):
        return True
    after = [word for word in said if word.start > link] if link >= 0 else said
    if any({NOT, DOUBT, WRONG} & word.classes for word in after):
        return True
    near = after if link >= 0 else after[-2:]
    unit = counted and not any({ANSWER, IT} & word.classes for word in words)
    if any(
        PART in word.classes
        or (
            COMPARE in word.classes
            and not (unit and (word.text in _LEAST or word.text.startswith("не ")))
        )
        for word in near
    ):
        return True
    if link < 0:
        tried = has(said[:1], TRY) and not has(said[-2:], LEADS)
        return tried or has(said, DRAFT) or (has(said, WOULD) and not counted)
    if (
        after
        and after[-1].text.lower() in _OF
        and any({ANSWER, IT} & word.classes for word in said)
    ):
        return True
    if _INDEFINITE.match(head, clause) is not None and head.startswith(_COPULAS, link):
        return True  # "A lower bound is …"
    return _denies_noun(head, [word for word in said if word.start <= link], link)


def _denies_noun(head: str, subject: Sequence[Word], link: int) -> bool:
    """Whether a subject is denied, doubted or no answer, and not only a noun in it."""
    inside = False
    label = head[link : link + 1] in (":", "：") or has(subject, ANSWER)
    for at, word in enumerate(subject):
        if DRAFT in word.classes and label:
            return True
        if COMPARE in word.classes and word.text[0] >= "\u3000" and has(subject, ANSWER):
            return True
        named = word.text.lower() in _ERRORS and not head[word.end : link].strip()
        if {NOT, DOUBT, WRONG} & word.classes and not named:
            spaced = word.text.isascii() or (word.text[0].isalpha() and word.text[0] < "\u3000")
            about_answer = any({ANSWER, IT} & w.classes for w in subject[at if spaced else 0 :])
            in_noun = (
                inside if spaced else "的" in head[word.end : link] or _is_syllable(word.text[0])
            )
            if about_answer or not in_noun:
                return True
        inside = (
            inside or (INSIDE in word.classes and at > 0) or (at == 0 and word.text[-3:] == "ing")
        )
    return False


def _is_syllable(letter: str) -> bool:
    """Whether a letter is kana or hangul, where a denial before a noun describes it."""
    return "\u3040" <= letter <= "\u30ff" or letter >= "\uac00"


def _is_doubtful_rest(rest: str, text: str, *, bare: bool, concluded: bool) -> bool:
    if not any(map(str.isalnum, rest)):
        return False
    if _AFTER_COMPARED.match(rest.lstrip(" )]")) is not None:
        return True
    if _NEXT_PART.search(rest) is not None:
        return True
    other = _offers_another(rest, text)
    if other is not None:
        return other
    segments = [part for part in _SEGMENT.split(rest) if any(map(str.isalnum, part))]
    attached = bool(segments) and rest.lstrip(" )]").startswith(segments[0].lstrip(" )]")[:1])
    if attached:
        words = find_words(segments[0])
        if bare and _is_doubtful_subject(segments[0], words, rest, concluded):
            return True
        if any({IF, SAYS} & word.classes and word.text[0] >= "\u3000" for word in words):
            return True
        than = _THAN_NUMBER.search(segments[0])
        before = [word for word in words if than is not None and word.start < than.start()]
        if (
            (than is not None and not has(before, INSIDE))
            or (bare and has(words[:3], COMPARE))
            or _takes_part(segments[0], words)
        ):
            return True
        claims = _IS_THE_ANSWER.match(segments[0]) is not None
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
    if _IS_THE_ANSWER.match(verb) is not None:
        return False
    if not words:
        return False
    if words[0].text.lower() in _VERB or words[0].classes & {IS, NOT, WOULD, MAY}:
        return True
    everything = find_words(rest)
    return not concluded and len(everything) > 6


def _takes_part(segment: str, words: Sequence[Word]) -> bool:
    """Whether what follows the answer makes another value of it: "minus two", "times 3"."""
    first = words[0] if words else None
    if first is None or PART not in first.classes or segment[: first.start].strip(" )"):
        return False
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


def _is_doubtful_aside(part: str, text: str) -> bool:
    """Whether a later part of the sentence doubts the answer: not if it denies another value, or
    gives a reason."""
    words = find_words(part)
    numbers = values_in(part)
    if words and {NOT, COMPARE, BUT} & words[0].classes and _DENIED_NUMBER.match(part):
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
    if not words or has(words, COMPARE) or _SEE.match(part) is not None:
        return not words and gives_another(part, text)
    return words[0].text.lower() not in _EXACTLY and gives_another(part, text)


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


def has(words: Sequence[Word], name: str) -> bool:
    return any(name in word.classes for word in words)
