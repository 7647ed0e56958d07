"""Whether the sentences after an answer stand by it.

A later sentence restates the value, explains it or closes. One that denies, doubts or turns back,
or gives another value, takes the answer back. In an explanation, which may deny other things, only
what turns back, or is about the answer, does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from filters.verify.prose.claims import CROSS, MAX_AFTER
from filters.verify.prose.clause_after import denies_plainly
from filters.verify.prose.sentences import plain, split_sentences
from filters.verify.prose.stated_values import gives_another, number_of, values_in
from filters.verify.prose.word_classes import (
    ANSWER,
    BECAUSE,
    BUT,
    DOUBT,
    INSIDE,
    IT,
    NOT,
    ONLY,
    SO,
    TASK,
    TURN,
    WRONG,
    Word,
    find_words,
    has,
)

MAX_SHORT = 6
"""Words of a sentence that says little but a value."""

_FIGURE = re.compile(r"\[asy\].*?(?:\[/asy\]|\Z)", re.DOTALL)
_EXPLAINS = re.compile(
    r"\W*(?:note|notice|common|pitfall|caution|warning|tip|key|idea|insight|alternatively|"
    r"another|we\s+can\s+(?:also\s+)?(?:check|verify|confirm|see)|in\s+other\s+words|"
    r"similarly|to\s+(?:see|check|verify|show)|remark|explanation|explained|check|verif|proof|"
    r"why|reason|justif|steps?\b|details?\b|solution\b|"
    r"we\s+(?:also\s+)?(?:check|verify|confirm)|we\s+could\s+(?:also|have)|you\s+can\s+(?:also\s+)?"
    r"check|testing|more\s+generally|in\s+general|alternative|or\s*$|by\s+the\s+way|graphically|"
    r"geometrically|to\s+(?:be|say)\s|with\s+(?:some|a\s+little)\s+more\s+work|for\s+these\s+values|"
    r"an?\s+(?:example|picture|graph|diagram|figure|sketch)\s|"
    r"the\s+(?:\w+\s+)?(?:graph|picture|diagram|figure|sketch|parabola)\b|"
    r"here|this\s+is\s+because|because|recall|summary|method|derivation|in\s+words|erklär|"
    r"begründ|probe|hinweis|"
    r"vérif|expli|remarque|justific|comprob|nota\b|observ|verific|spieg|провер|объяс|поясн|"
    r"решени|заметим|"
    r"解析|理由|验证|检验|验算|注|说明|分析|説明|検算|確認|補足|확인|풀이|설명|검산|참고)|"
    r".{0,60}?(?:注意|なお|ちなみに)",
    re.IGNORECASE,
)
_OFFERS = re.compile(
    r"let\s+me\s+know|hesitat|zögern|hésite|dude\s+en|duda\s+en|hesite|esitare|стесняй",
    re.IGNORECASE,
)
_OF_OTHERS = re.compile(
    r"\W{0,4}(?:\w{1,20}\W{1,3}){0,2}?(?:others?|andere\w*|autres?|otr[ao]s?|outr[ao]s?|"
    r"altr[aei]|другие|другой)(?!\w)|"
    r"\W*(?:其他|其余|他の|다른)|\W*(?:options?\s+|choices?\s+)?(?:\(?(?-i:[B-HJ])\)?(?!\w)|"
    r"\(?(?-i:A)(?:[).:,/]|\s+(?:and|or|is|was|has|lies|does|cannot|ist|est|es)\b))",
    re.IGNORECASE,
)
_CLOSES = re.compile(
    r"\W*(?:i\s+(?:hope|checked|verified|double)|hope|i['’]m\s+happy|feel\s+free|would\s+you|"
    r"if\s+you|please|"
    r"thank|great|good\s+luck|happy|do\s+you|does\s+(?:that|this)|have\s+a|well\s+done|qed|"
    r"both|as\s+(?:desired|"
    r"required|expected)|(?:ich\s+)?hoffe|j['’]espère|n['’]h|espero|spero|надеюсь|希望|如果你|如有|有问题|"
    r"お役|ご|도움|행운|ask\b|done)|\W*$",
    re.IGNORECASE,
)
_IT_IS = re.compile(
    r"\W*(?:it|this|that|es|das|ce|c['’]est|è|é)(?:['’]s|\s+(?:is|ist|est|equals))?\s+[$\\(]*-?\d",
    re.I,
)
_SAYS_IT_IS = re.compile(
    r"\b(?:it|this|that)(?:['’]s|\s+(?:is|equals|must\s+be|should\s+be))\s+(?:\w+\s+)?[$\\(]*-?\d[\d.,/]*\W*$",
    re.I,
)
_THEY_ARE = re.compile(r"\W*they\s+are\b", re.I)
_FIRST_PERSON = re.compile(
    r"\W*(?:I|Ich|Je|J['’]ai|Io|Eu|Yo|我|Я)(?![^\W\d_])"
    r"(?!\s*(?:hope|checked|verified|double|used|can|could|would|will|trust|also|"
    r"am\s+(?:happy|glad|confident)|"
    r"['’](?:m\s+(?:happy|glad|confident)|ll|d)|hoffe|espère|spero|espero|надеюсь)(?!\w))"
)


_FITS = frozenset(
    """
    consistent match matches satisfy satisfies satisfied agree agrees hold holds work works fit fits
    equal right correct possible true add
    """.split()  # noqa: SIM905 -- a table of words is read as prose
)
"""What a check finds of an answer that stands it."""

_POINTS = frozenset(["it", "this", "that", "they", "these", "which", "value", "answer", "check"])
_WORKS_ON = frozenset(
    """
    let lets now next then oh ah add adding subtract subtracting multiply multiplying divide
    dividing doubling
    nun jetzt dann maintenant ensuite puis ahora luego agora depois ora adesso poi теперь затем
    """.split()  # noqa: SIM905 -- a table of words is read as prose
)
"""What a sentence starts with that is one more step."""


def is_kept(after: str, text: str, *, explained: bool = False) -> bool:
    """Whether the sentences after an answer's own stand by it. `explained`: all of them explain it.

    >>> is_kept("I hope this helps!", "12"), is_kept("Hmm, let me recheck.", "12")
    (True, False)
    """
    if not after.strip(" \n$.\\)]"):
        return True
    if len(after) > 2 * MAX_AFTER:
        after = after[:MAX_AFTER] + "\n" + after[-MAX_AFTER:]
    denies = any({NOT, WRONG} & word.classes for word in find_words(plain(text)))
    formula = any(map(str.isdigit, text)) or "\\" in text
    against = {DOUBT, BUT, TURN} if denies else {NOT, DOUBT, BUT, WRONG, TURN}
    for sentence in split_sentences(after):
        said = plain(sentence)
        words = find_words(said)
        explained = explained or _EXPLAINS.match(said) is not None
        if CROSS.search(sentence) is not None:
            return False
        if _OFFERS.search(said) is not None:
            continue
        if formula and _THEY_ARE.match(said) is not None:
            listed = values_in(said)  # what the answer counts: "They are 2, 3 and 5."
            if len(listed) > 1 and number_of(text) != len(listed):
                return False
            continue
        if _OF_OTHERS.match(said) is not None:
            if has(words[:2], TURN):
                return False
        elif explained or said.lstrip()[:1] in ("(", "（") or has(words[:1], BECAUSE):
            if _turns_back(words, denies) or (
                (has(words, ANSWER) or len(said.split()) == 2 or _ends_in_value(said))
                and gives_another(said, text)
            ):
                return False
        elif (
            any(against & word.classes for word in words)
            or _FIRST_PERSON.match(said) is not None
            or (_may_give_value(said, words) and gives_another(said, text))
            or _goes_on(said, words, text)
            or (formula and not _stands_by(sentence, said, words, text))
        ):
            return False
    return True


def _goes_on(said: str, words: Sequence[Word], text: str) -> bool:
    """Whether a sentence works on, or returns to what was asked, without the answer in it."""
    value = number_of(text)
    if value is not None and any(number_of(each) == value for each in values_in(said)):
        return False
    return (bool(words) and words[0].text.lower() in _WORKS_ON) or has(words, TASK)


def _stands_by(sentence: str, said: str, words: Sequence[Word], text: str) -> bool:
    """Whether a sentence restates the answer, is about it, has an equation, or closes."""
    about = bool(words) and bool({IT, ANSWER, SO} & words[0].classes)
    value = number_of(text)
    restates = text in sentence or (
        value is not None and any(number_of(each) == value for each in values_in(said))
    )
    unit = len(words) < 3 and said.strip()[:1].islower() and not any(w.classes for w in words)
    return about or restates or unit or "=" in sentence or _CLOSES.match(said) is not None


def _may_give_value(said: str, words: Sequence[Word]) -> bool:
    """Whether a sentence may give a value: short, about the answer, or with a number at its end."""
    plain_end = said.strip(" .!。\n")
    ends = plain_end[-1:].isdigit() or plain_end[:1].isdigit()
    return ends or len(words) <= MAX_SHORT or has(words, ANSWER) or bool(_IT_IS.match(said))


def _fails(words: Sequence[Word]) -> bool:
    """Whether a check fails: "so that's not consistent", "it does not match", "this fails"."""
    for at, word in enumerate(words):
        if WRONG in word.classes and at and words[at - 1].text.lower() in _POINTS:
            return True
        if NOT in word.classes and any(w.text.lower() in _FITS for w in words[at + 1 : at + 3]):
            return any(w.text.lower() in _POINTS for w in words[max(0, at - 3) : at])
    return False


def without_figures(text: str) -> str:
    """A text without the drawings in it."""
    return _FIGURE.sub("", text) if "[asy]" in text else text


def _ends_in_value(said: str) -> bool:
    """Whether a sentence ends in "it is 30"."""
    return _SAYS_IT_IS.search(said) is not None


def _turns_back(words: Sequence[Word], denies: bool) -> bool:
    """Whether an explanation starts by turning back, or says that the answer is wrong."""
    if any(TURN in word.classes for word in words[:2]) or has(words[1:4], BUT):
        return True
    for at, word in enumerate(words):
        near = words[at + 1 : at + 4]
        if ANSWER in word.classes and not denies and has(near, WRONG) and not has(near, INSIDE):
            return True
    if not denies and _fails(words):
        return True
    for at, word in enumerate(words[:4]):
        if {ANSWER, IT} & word.classes or (
            at == 0 and word.text.lower() in ("that", "das", "dies", "это")
        ):
            following = words[at + 1 : at + 9]
            return not denies and (denies_plainly(following, "") or has(following, ONLY))
    return False
