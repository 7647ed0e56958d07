"""Multiple choice: exactly one letter claimed, or the set of them, or an option's text.

What a mark holds is read to its end. Each of its clauses claims the letters it names, denies them,
or mentions them in passing after "because"; a letter is the answer only if no other is claimed and
nothing takes it back. Where nothing marks the answer, a last line that names a letter in so many
words ("so I choose B", 故选B, "option B is correct") gives it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from filters.verify import exact
from filters.verify.base import Immediate
from filters.verify.latex import normalise
from filters.verify.maths.forms import Choice
from filters.verify.maths.parse import parse
from filters.verify.prose.answer_line import DOUBT
from filters.verify.prose.claim_words import is_plain
from filters.verify.prose.claims import is_supposition
from filters.verify.prose.marks import Mark, find_marks, is_withdrawn, whole_answer
from filters.verify.prose.phrases import CHOOSE, CONFIRM, DENY, drop_closing
from filters.verify.verification import Verification

MAX_ANSWER = 1_000
MAX_MARKS = 32
"""Boxes and sections, from the end, that must agree."""
LETTERS = frozenset("ABCDEFGHIJ")
"""The options of a question whose own are not given."""
LAST_LINES = 5
"""Lines at the end of an unmarked response in which a letter may be chosen."""

_WRAPPED = re.compile(
    r"\\(?:text|textbf|textit|textsf|mathrm|mathbf|mathsf|mathit|boxed|fbox|emph|underline|bf|rm)"
    r"\s*\{([^{}]*)\}"
)
_BRACES = re.compile(r"(?<![\\\w])\{([^{}]*)\}")
_SPACE = re.compile(r"\\(?:[,;:! ]|quad|qquad|hspace\{[^{}]*\})|(?<=[^\s~])~(?=[^\s~])|\s+")
_QUOTES = str.maketrans(dict.fromkeys('"“”„«»`*$', " ") | {"‘": "'", "’": "'"})
_MATHS_MARKS = re.compile(r"\\[()\[\]]|\\displaystyle")

# A letter that stands alone: not C++, C^2, 3C, C' or C=5. Other scripts may touch it (选B).
_MENTION = re.compile(
    r"(?<![A-Za-z0-9À-ɏ_^\\+#.'=!~¬|])(?:\(\s*([A-Za-z])\s*\)|\[\s*([A-Za-z])\s*\]|([A-Z]))"
    r"(?![A-Za-z0-9À-ɏ_^+#*'°\\])(?!\s*[=^+*/<>]\s*[a-z0-9])"
)
_CONJUNCTION = r"(?:and|or|und|oder|et|ou|y|o|e|и|или)"
_AND = (
    rf"(?:\s*[,;/&、+]\s*(?:{_CONJUNCTION}\s+)?|\s+{_CONJUNCTION}\s+|\s*(?:和|与|或|と|か|및)\s*)"
)
_ONE = r"\(?[A-Z]\)?"
_LIST = re.compile(rf"(?<![A-Za-z0-9À-ɏ]){_ONE}(?:{_AND}{_ONE})+(?![A-Za-z0-9À-ɏ'])")
_ARTICLE = re.compile(
    r"\s+(?!(?:and|or|is|isn't|was|are|as|because|since|but|for|by|due|can|cannot|can't|does|"
    r"doesn't|has|would|could|must|should|fails?|gives?|follows|holds|only|not|in|which|where|"
    r"rather|instead|so|if|with|being|und|oder|ist|et|est|y|es|e|è|é)\b)[a-z]"
)
_PRONOUN = re.compile(r"\s+(?:would|should|could|can|must|will|have\s+to)\s+(?!be\b|not\b)[a-z]")
"""What follows the word I, and no option I: "I would choose"."""
_LISTED = re.compile(r"(?:\b(?:or|and|either|neither|nor|not|to)\s+|[/&>→]\s*)$")
_BECAUSE = (
    "because since as although though while whereas which where that if when given due based "
    "according weil denn da car parce puisque porque pues pois perché poiché потому"
)
_BUT = "so sondern aber mais mas sino ma а"
_INSTEAD = (
    r"rather\s+than|instead\s+of|as\s+opposed\s+to|statt|anstatt|plutôt\s+que|au\s+lieu\s+de|"
    r"en\s+lugar\s+de|em\s+vez\s+de|invece\s+di|вместо|так\s+как"
)
_CLAUSE_WORDS = "|".join((*_BECAUSE.split(), *_BUT.split(), _INSTEAD))
# Where one clause ends and another begins: a stop, a bracket, a dash, a conjunction.
_BREAK = re.compile(
    r"[,;.!?。、\n]+(?![A-Za-z0-9])|\((?![A-Za-z]\))|(?<!\([A-Za-z])\)|\s[—–-]+\s|—|–(?=\s)|"
    rf"(?=\b(?:{_CLAUSE_WORDS}|(?<!thing\s)(?<!all\s)but)\b)|(?<=\b[Nn]o):|"
    r"(?=因为|由于|所以|而不是|而非|而是)|(?<=가\s아니라)|(?<=이\s아니라)|(?<=ではなく)"
)
_REASON = re.compile(rf"(?:{'|'.join(_BECAUSE.split())}|так\s+как)\b|因为|由于", re.IGNORECASE)
_RETRACTION = re.compile(
    r"(?:no|no\s+way|nope|wait|actually|sorry|correction|hmm|oops|scratch\s+that|i\s+mean|nein|non|нет)\s*$|"
    r"(?:(?:that|it|this)(?:'s|\s+is)\s+|is\s+)?(?:false|wrong|incorrect|excluded|impossible|"
    r"not\s+(?:correct|right|true)|falsch|faux|fausse|fals[oa]|errad[oa]|sbagliat[oa]|неверно|"
    r"错误?|錯誤?|不对|不對|誤り|틀림)\s*$",
    re.IGNORECASE,
)
_ALTERNATIVE = re.compile(
    r"(?:or|oder|ou|o|или|あるいは|または|또는|或者?)(?![^\W\d_])", re.IGNORECASE
)
_LABEL = re.compile(
    r"(?:the\s+|la\s+|die\s+|a\s+|l')?(?:(?:correct|right|best)\s+)?(?:option|choice|answer|letter|"
    r"antwort|réponse|respuesta|opción|inciso|resposta|alternativa|risposta|opzione|вариант|ответ|"
    r"选项|選項|答案|選択肢|정답|보기)\s*:?\s*",
    re.IGNORECASE,
)
_LABELLED = re.compile(
    rf"\s*({_ONE})(?P<mark>\s*[.):]+(?=\s|[^\W\d_]{{2}}|\d)|\s*[,;](?=\s)|\s+[-–—]+(?=\s)|—)"
    r"\s*(?P<rest>.+)",
    re.DOTALL,
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_RUN = re.compile(r"(?<![A-Za-z])[A-J]+(?![A-Za-z])")


_WHICH_IS = re.compile(
    r"(?:.*[^\w.!?])?(?:which|and\s+(?:this|that))\s+(?:is|corresponds\s+to|matches|is\s+given\s+(?:by|in))"
    r"\s+(?:the\s+)?(?:option|choice|answer|letter)\s+(?P<letter>\(?[A-Z]\)?)[.!]?"
)
"""A last sentence that ends in it: "The force is 42 N, which corresponds to option A." """

_SEVERAL = re.compile(r"[A-J](?:(?:\s*[,;、&]\s*|\s+and\s+)?[A-J]){1,9}")
"""A reference of several letters as one text: "A, C", "ACD", "A and C"."""


class Claim(NamedTuple):
    """What an answer says: the letters it claims; why there are none; how they were found."""

    letters: frozenset[str]
    why: str | None = None


class ChoiceVerifier(Immediate):
    """Verifier of `{"kind": "choice", "answer": "B" or ["A", "C"], "choices": {"A": …, …}}`."""

    VERSION = 9
    METHOD = "choice"

    def problem(self, spec: Mapping[str, Any]) -> str | None:
        wanted = _wanted(spec)
        if not wanted or not all(
            len(letter) == 1 and letter.isascii() and letter.isupper() for letter in wanted
        ):
            return f"answer is {spec.get('answer')!r:.80}; it must be a letter or a list of letters"
        choices = spec.get("choices")
        if choices is not None and not isinstance(choices, Mapping):
            return "choices must map letters to texts"
        if choices and not wanted <= choices.keys():
            return f"answer {sorted(wanted)} is not among the choices {sorted(choices)}"
        return None

    def judge(self, spec: Mapping[str, Any], response: str) -> Verification:
        choices = {letter: str(text) for letter, text in (spec.get("choices") or {}).items()}
        several = _is_several(spec)
        marks = _final_marks(find_marks(response), choices, several)
        if not marks:
            return self._unmarked(spec, response, choices)
        text = marks[-1].text
        if not text:
            return self.say("no_answer", None)
        if len(text) > MAX_ANSWER:
            return self.say("unparseable", text[:100] + "…", "too long")
        if is_withdrawn(response, marks[-1]):
            return self.say("unparseable", text, "taken back by what stands around it")
        claims = [read_claim(mark.text or "", choices, several=several) for mark in marks]
        return self._verdict(spec, text, claims)

    def _unmarked(
        self, spec: Mapping[str, Any], response: str, choices: Mapping[str, str]
    ) -> Verification:
        several = _is_several(spec)
        whole = whole_answer(response)
        if whole is not None and whole.text and is_supposition(whole.text):
            return self.say("no_answer", None)
        named = None if several else _named_at_the_end(response, choices)
        if named is not None:
            return self._verdict(spec, named, [Claim(frozenset((named,)))])
        if whole is not None and whole.text:
            claim = read_claim(whole.text, choices, several=several)
            return self._verdict(spec, whole.text, [claim])
        for line in reversed(response.strip().splitlines()[-LAST_LINES:]):
            if len(line) <= MAX_ANSWER and not is_supposition(line) and _chooses(line, choices):
                claim = read_claim(line, choices, several=several)
                return self._verdict(spec, line.strip(), [claim])
        return self.say("no_answer", None)

    def _verdict(self, spec: Mapping[str, Any], text: str, claims: list[Claim]) -> Verification:
        last = claims[-1]
        if not last.letters:
            return self.say("unparseable", text, last.why or "no letter and no option's text")
        given = frozenset[str]().union(*(claim.letters for claim in claims))
        if len(given) > 1 and not _is_several(spec):
            return self.say("wrong", text, f"{len(given)} letters for one")
        state = "correct" if given == _wanted(spec) else "wrong"
        return self.say(state, "".join(sorted(given)), last.why)  # type: ignore[arg-type]


def read_claim(text: str, choices: Mapping[str, str], *, several: bool) -> Claim:
    """The letters that the text of a mark claims."""
    plain = flatten(text)
    allowed = frozenset(choices) or LETTERS
    bare = _bare(plain)
    if len(bare) == 1 and bare.upper() in allowed:
        return Claim(frozenset((bare.upper(),)))
    by_text = _by_text(text, choices) | _by_text(plain, choices)
    if len(by_text) == 1:
        return Claim(by_text, "by the option's text")
    if several:
        return _read_several(bare, allowed)
    unlabelled = _LABEL.sub("", plain, count=1)
    listed = _LIST.match(unlabelled.lstrip()) is not None  # "B, C and D are wrong"
    labelled = None if listed else _LABELLED.fullmatch(unlabelled)
    if labelled and (letter := labelled[1].strip("()")) in allowed:
        return _read_labelled(letter, labelled["mark"].strip(), labelled["rest"], choices)
    return _read_clauses(plain, allowed, choices)


def _named_at_the_end(response: str, choices: Mapping[str, str]) -> str | None:
    """The letter of "…, which is option A." as the last sentence, where it is the only one."""
    line = flatten(response.strip().rsplit("\n", 1)[-1][-MAX_ANSWER:])
    sentence = line[max(line.rfind(". ", 0, -1), line.rfind("! "), line.rfind("? ")) + 1 :].strip()
    found = _WHICH_IS.fullmatch(sentence)
    allowed = frozenset(choices) or LETTERS
    if found is None or DENY.search(sentence) or DOUBT.search(sentence) or is_supposition(line):
        return None
    letters = {letter for letter, _, _ in _mentions(sentence, allowed)}
    letter = found["letter"].strip("()")
    return letter if letters == {letter} else None


def flatten(text: str) -> str:
    """Plain text: full-width letters as ASCII, no LaTeX wrappers, Markdown, quotes or dollars.

    >>> flatten(r"\\boxed{\\textbf{(Ｂ)}}")
    '(B)'
    """
    text = unicodedata.normalize("NFKC", text)
    text = _MATHS_MARKS.sub(" ", text)
    for _ in range(4):
        text = _BRACES.sub(r"\1", _WRAPPED.sub(r"\1", text))
    return _SPACE.sub(" ", text.translate(_QUOTES)).strip()


def _final_marks(marks: list[Mark], choices: Mapping[str, str], several: bool) -> list[Mark]:
    """The last mark, with those before it that must agree: boxes and sections.

    An announcement before a box may be part of the argument ("if the answer is B, then …").
    """
    if not marks:
        return []
    if several:
        boxes = [mark for mark in marks if mark.how == marks[-1].how]
        return boxes if marks[-1].how == "box" else boxes[-1:]
    lettered = [
        mark
        for mark in marks[-MAX_MARKS:-1]
        if mark.how in ("box", "tag")
        and 0 < len(mark.text or "") <= MAX_ANSWER
        and read_claim(mark.text or "", choices, several=False).letters
    ]
    return [*lettered, marks[-1]]


def _read_several(plain: str, allowed: frozenset[str]) -> Claim:
    """A set of letters, where several are asked for: "A, C", "(A) and (C)", "CA"."""
    parts = [part.strip() for part in re.split(r"[。.;；\n]", plain) if part.strip()]
    sets = {_listed(part) for part in parts}
    letters = sets.pop() if len(sets) == 1 else frozenset[str]()
    return Claim(letters if letters <= allowed else frozenset())


def _listed(part: str) -> frozenset[str]:
    """The letters of a part that lists them and says nothing else; none of any other."""
    named = part
    if not (_LIST.fullmatch(part) or re.fullmatch(r"[A-Z]+", part)):
        named = " ".join(_RUN.findall(part))
        if DENY.search(part) or not is_plain(_RUN.sub("", part)):
            named = ""
    return frozenset(re.findall(r"[A-Z]", named))


def _read_labelled(letter: str, mark: str, rest: str, choices: Mapping[str, str]) -> Claim:
    """ "B. London", "B: the charge doubles": a letter and a text, its own or an explanation."""
    by_rest = _by_text(rest, choices)
    if by_rest:
        why = None if by_rest == {letter} else "the letter of one option, the text of another"
        return Claim(by_rest | {letter}, why)
    allowed = frozenset(choices) or LETTERS
    others, _ = _letters_and_words(rest, LETTERS)
    if mark.startswith(")") and others:
        return Claim(frozenset((letter, *others)), "an option's text that names other letters")
    if not _WORD.search(rest) and not others:
        return Claim(frozenset(), "a letter with a text that is no option's")
    first = next(_clauses(rest), "")
    if mark[0] not in ":-–—" or not DENY.search(first) or _RETRACTION.match(first.strip(" ,.:")):
        return _read_clauses(rest, allowed, choices, frozenset((letter,)))
    return _read_clauses(rest, allowed, choices, denied=frozenset((letter,)))


def _read_clauses(
    plain: str,
    allowed: frozenset[str],
    choices: Mapping[str, str],
    claimed: frozenset[str] = frozenset(),
    denied: frozenset[str] = frozenset(),
) -> Claim:
    """The letters that clauses claim, after those `claimed` and `denied` before them.

    A clause that says more than a claim does makes its letters doubtful: they stand against
    another letter's claim, and are none of their own. An option's text stands for its letter.
    """
    doubtful: frozenset[str] = frozenset()
    for clause in _clauses(plain):
        letters, words = _letters_and_words(clause, allowed)
        found = letters | _by_text(words, choices) | _by_text(clause, choices)
        if not found:
            if claimed and _ALTERNATIVE.match(clause.strip()):
                return Claim(frozenset(), "something else may be right too")
            if _RETRACTION.match(clause.strip(" ,.:")):
                claimed, denied = frozenset(), denied | claimed
        elif DENY.search(clause):
            claimed, denied = claimed - found, denied | found
        elif _REASON.match(clause.strip()) and not CONFIRM.search(clause):
            continue
        elif is_plain(words) or _by_text(words, choices):
            claimed |= found
        else:
            doubtful |= found
    together = claimed | doubtful
    if len(together) == 1 and (not claimed or claimed & denied):
        return Claim(frozenset(), "the letter is doubtful, or claimed and denied")
    return Claim(together, None if together or not denied else "no letter is claimed")


def _letters_and_words(clause: str, allowed: frozenset[str]) -> tuple[frozenset[str], str]:
    """The letters that a clause names, and its words without them."""
    letters, words, at = set(), [], 0
    for letter, start, end in _mentions(clause, allowed):
        letters.add(letter)
        words.append(clause[at:start])
        at = end
    return frozenset(letters), " ".join([*words, clause[at:]]).strip(" ()[]{}:.,")


def _clauses(text: str) -> Iterator[str]:
    """The parts of a text that are true or false by themselves; enumerations stay whole."""
    joined = _LIST.sub(lambda found: re.sub(_AND, " & ", found[0]), text)
    yield from (clause for clause in _BREAK.split(joined) if clause and clause.strip())


def _mentions(text: str, allowed: frozenset[str]) -> Iterator[tuple[str, int, int]]:
    """The letters that a text names, with their places. "A man" names none."""
    for found in _MENTION.finditer(text):
        letter = (found[1] or found[2] or found[3]).upper()
        article = (
            found[3] in ("A", "I")
            and (
                _ARTICLE.match(text, found.end())
                or (letter == "I" and _PRONOUN.match(text, found.end()))
            )
            and not _LISTED.search(text, 0, found.start())
        )
        if letter in allowed and not article:
            yield letter, found.start(), found.end()


def _chooses(line: str, choices: Mapping[str, str]) -> bool:
    """Whether a line that nothing marks says which letter is the answer."""
    plain = flatten(line)
    allowed = frozenset(choices) or LETTERS
    bare = _bare(plain)
    if len(bare) == 1 and bare in allowed:
        return True
    for _, start, end in _mentions(plain, allowed):
        if CONFIRM.match(plain, end + _spaces(plain, end)) or _chosen(plain, start):
            return True
    return False


def _chosen(plain: str, start: int) -> bool:
    before = plain[max(0, start - 60) : start].rstrip(" (:：")
    return any(found.end() == len(before) for found in CHOOSE.finditer(before))


def _spaces(text: str, at: int) -> int:
    return len(text[at:]) - len(text[at:].lstrip(" )]"))


def _bare(plain: str) -> str:
    """An answer without its label, brackets and quotes."""
    bare = _LABEL.sub("", drop_closing(plain), count=1).strip(" ()[]{}.:")
    return bare[1:-1] if len(bare) == 3 and bare[0] == bare[2] == "'" else bare


def _by_text(text: str, choices: Mapping[str, str]) -> frozenset[str]:
    return frozenset(
        letter for letter, option in choices.items() if _same_text(letter, option, text)
    )


def _same_text(letter: str, option: str, text: str) -> bool:
    """Whether a text is an option's; with a letter before it, only that letter's."""
    left, right = normalise(option), normalise(text)
    if left.casefold() == right.casefold():
        return True
    given = parse(right)
    if isinstance(given, Choice) and given.letter != letter:
        return False
    return exact.same(parse(left), given) is True


def _is_several(spec: Mapping[str, Any]) -> bool:
    return isinstance(spec["answer"], list) or len(_wanted(spec)) > 1


def _wanted(spec: Mapping[str, Any]) -> frozenset[str]:
    answer = spec.get("answer")
    letters = answer if isinstance(answer, list) else [answer]
    if isinstance(answer, str) and _SEVERAL.fullmatch(answer.strip()):
        letters = re.findall("[A-J]", answer)
    return frozenset(letter.strip(" ().").upper() for letter in letters if isinstance(letter, str))
