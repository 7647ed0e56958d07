"""The words of a sentence before a mark: whether they lead up to a claim.

In the clause right before the mark nothing denies, doubts, supposes, compares, reports or takes a
part of what is claimed. A denial in a noun phrase is about the noun.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

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
    PART,
    SAYS,
    SO,
    THAT,
    TRY,
    WOULD,
    WRONG,
    Word,
    has,
)

_CLAUSE = re.compile(
    r"[,;，；、—]|\s[–-]\s|(?P<contrast>而是|(?:では|じゃ)なく|아니라)|므로|니까|으니|때문에"
)
_DENIED_BUT = re.compile(r"(?:any|every|no)thing\s*$|(?:all|none)\s*$", re.IGNORECASE)
_MAYBE = frozenset(["look", "also", "well", "equal", "ser", "être", "sein", "essere"])
_EXCLAIMED = re.compile(r"\s*(?:no|nope|wait|nein|non|não|нет|不|不对|いや|아니)\s*", re.IGNORECASE)
_MATRIX = frozenset(
    """
    i we one you it this these which us can may must now easily clearly directly immediately again
    see sees saw find finds found conclude concluded know deduce deduced follows follow mean means
    show
    shows shown get have obtain implies imply confident certain think believe note clear fact
    infer establish proves prove verify verified confirm confirmed check guarantee claim is are am
    be quickly deduces gives tells told there no doubt without
    """.split()  # noqa: SIM905 -- a table of words is read as prose
)
"""What may stand before "that the answer is …"."""
_CONTRASTS = frozenset("but sondern mais sino mas ma а aber pero но".split())  # noqa: SIM905
_ERRORS = frozenset(["error", "errors", "fehler", "erreur", "errore", "erro", "ошибка"])
"""A relative error is a value like any other."""
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
_BETWEEN = frozenset("between zwischen entre tra fra между 介于".split())  # noqa: SIM905
_FORM = frozenset(["fill", "enter", "insert", "type", "put"])
SELF = frozenset("i we ich wir je nous j yo я мы io eu".split())  # noqa: SIM905
_AUXILIARY = frozenset(["must", "should", "will", "can", "has", "s"])
_OF = frozenset(["of", "von", "de", "di", "от"])
_INDEFINITE = re.compile(
    r"\s*(?:a(?=\s[^é]*\bis\b)|an|one|another|some|ein|eine|un|une|una|uno|um|"
    r"uma)\s(?!answer)[^\W\d_]{3}",
    re.IGNORECASE,
)
_COPULAS = ("is", "are", "ist", "sind", "est", "es ", "é ", "è ", "son ", "sono")


def last_clause(head: str, words: Sequence[Word]) -> int:
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
        piece = re.split("[,;，；]", head[: colon.start()])[-1]
        leads = re.search(r"[^\W\d_]{2}", head[colon.end() :]) is not None
        if leads or _EXCLAIMED.fullmatch(piece) is not None:
            start = max(start, colon.end())
    for word in words:
        before = [each for each in words if each.end <= word.start][-1:]
        concludes = SO in word.classes and AND not in word.classes and not has(before, NOT)
        if concludes and word.text.lower() != "in":
            start = max(start, word.start)
        follows = [each for each in words if each.start >= word.end][:3]
        if AND in word.classes and has(follows[1:], ANSWER) and not has(words, IF):
            start = max(start, word.start)  # "no page is such, and the answer is"
        but = word.text.lower() in _CONTRASTS
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


def is_doubtful_before(head: str, words: Sequence[Word], clause: int, *, counted: bool) -> bool:
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
    saying = next(
        (
            at
            for at, word in enumerate(said)
            if SAYS in word.classes and not (at and said[at - 1].text.lower() == "who")
        ),
        None,
    )
    own = saying is None or any(word.text.lower() in SELF for word in said[:saying])
    if not own and any({IS, THAT} & word.classes for word in said[saying or 0 :]):
        return True
    if _reports(said):
        return True
    if has(said, IF) or (not counted and any(SAYS in word.classes for word in said[-2:])):
        return True
    if said and said[0].text.lower() in _FORM and "=" not in head:
        return True  # "Fill in the box:"
    link = max(
        [head.rfind("=", clause), head.rfind(":", clause), head.rfind("：", clause)]
        + [word.start for word in said if IS in word.classes]
    )
    if any(
        MAY in word.classes
        and not (word.text == "May" and word.start)
        and (following is None or following.start == link or following.text in _MAYBE)
        for word, following in zip_longest(said, said[1:])
    ):
        return True
    after = [word for word in said if word.start > link] if link >= 0 else said
    if any({NOT, DOUBT, WRONG} & word.classes for word in after):
        return True
    if has(said[-2:], BUT) or re.search("[把将]\\s*$", head) is not None:
        return True
    if link < 0 and any(
        w.text.lower() in _BETWEEN and any(map(str.isdigit, head[w.end :])) for w in said
    ):
        return True
    near = after if link >= 0 else after[-2:]
    unit = counted and not any({ANSWER, IT} & word.classes for word in words)
    if any(
        (PART in word.classes and not has(said[-1:], LEADS))
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


def _reports(said: Sequence[Word]) -> bool:
    """Whether the claim is what somebody else says or is said to be: "rumour has it that it is"."""
    for at, word in enumerate(said[1:], 1):
        reported = said[at + 1 :][:3]
        if THAT in word.classes and has(said[:at], BECAUSE):
            return False
        if THAT in word.classes and _is_reported(reported, said[at + 1 :]):
            return any(w.text.lower() not in _MATRIX and SO not in w.classes for w in said[:at])
    return False


def _is_reported(first: Sequence[Word], clause: Sequence[Word]) -> bool:
    """Whether a clause after "that" gives the answer, and is not a noun's: "the chance that it is
    green is"."""
    if any(ANSWER in word.classes for word in first):
        return True
    verb = first[1:2]
    says = bool(verb) and (
        bool({IS, WOULD, MAY} & verb[0].classes) or verb[0].text.lower() in _AUXILIARY
    )
    return has(first[:1], IT) and says and sum(IS in word.classes for word in clause) < 2


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
            if spaced and NOT in word.classes and _denies_verb(subject[at + 1 :]):
                return True  # "that the result can't be"
            placed = at > 0 and NOT in word.classes and _places(subject[at + 1 :])
            in_noun = (
                inside or placed
                if spaced
                else "的" in head[word.end : link] or _is_syllable(word.text[0])
            )
            if about_answer or not in_noun:
                return True
        inside = (
            inside or (INSIDE in word.classes and at > 0) or (at == 0 and word.text[-3:] == "ing")
        )
    return False


def _denies_verb(following: Sequence[Word]) -> bool:
    """Whether a denial stands right before "is" or "be", perhaps with an adverb between."""
    verb = next((w for w in following if w.text[-2:] != "ly" and w.text != "ever"), None)
    return verb is not None and IS in verb.classes


def _places(following: Sequence[Word]) -> bool:
    """Whether a denial says where a thing is not: the largest x not in the domain."""
    return has(following[:1], INSIDE) and not has(following[:1], THAT)


def _is_syllable(letter: str) -> bool:
    """Whether a letter is kana or hangul, where a denial before a noun describes it."""
    return "\u3040" <= letter <= "\u30ff" or letter >= "\uac00"
