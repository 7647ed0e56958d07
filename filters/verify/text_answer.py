"""Short free text: equal but for Markdown, typography, a leading article and the case of words.

What changes the meaning stays: every sign, bracket, quantifier, superscript and combining mark, the
case of letters and units, and the order of everything.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from filters.verify.base import Immediate
from filters.verify.prose.answer_line import DOUBT
from filters.verify.prose.extract_answer import verdict_word
from filters.verify.prose.marks import Mark, find_marks, is_withdrawn, unmark, whole_answer
from filters.verify.prose.phrases import announcement_end, drop_closing
from filters.verify.prose.sentence_value import MAX_SENTENCE, is_open
from filters.verify.verification import Verification

MAX_ANSWER = 20_000

_MARKUP = re.compile(r"\\(?:text|mathrm|mathbf|textbf|textit|textsf|emph|underline)\s*\{([^{}]*)\}")
_QUOTED = re.compile(r"""  "([^"]*)" | '([^']*)' | «([^»]*)» | 「([^」]*)」 """, re.VERBOSE)
_BOLD = re.compile(r"\*\*(?P<inside>[^*\n]{1,100})\*\*")
_NEXT_SENTENCE = re.compile(r"[.!?;。]\W*\w")
_IN_DOLLARS = re.compile(r"\$([^$]+)\$")
_WORD = re.compile(r"[^\W\d_]+")
_AFTER_NUMBER = re.compile(r"\d\s?$")
_ARTICLE = re.compile(r"^(?:the|an|a)\s+(?!(?:the|an|a)\b)(?=\w)")
_ANY_ARTICLE = re.compile(r"^A\s+(?=[a-z]{2})")
_ABBREVIATED = re.compile(r"(?<=[^\W\d_])\.(?=\s+[^\W\d_])")
_LAST_STOP = re.compile(r"(?<=[^.])[.。．]$|(?<=[^\W\d_]{2})[!！]$")
_AROUND_SIGNS = re.compile(r"\s*([^\w\s'\"-])\s*")
_TYPOGRAPHY = str.maketrans(
    {
        **dict.fromkeys("‐‑‒–—−", "-"),
        **dict.fromkeys("‘’ʼ", "'"),
        **dict.fromkeys("“”„", '"'),
        **dict.fromkeys("\u200b\u200e\u200f\ufeff\u00ad", None),
        **{chr(0xFF01 + place): chr(0x21 + place) for place in range(94)},  # full-width ASCII
    }
)


class TextVerifier(Immediate):
    """Verifier of `{"kind": "text", "answer": "…" or ["…", …]}`: any one of several will do."""

    VERSION = 7
    METHOD = "text"

    def problem(self, spec: Mapping[str, Any]) -> str | None:
        answers = _answers(spec)
        if not answers or not all(_says_something(answer) for answer in answers):
            return f"answer is {spec.get('answer')!r:.80}; it must be words or a list of them"
        return None

    def judge(self, spec: Mapping[str, Any], response: str) -> Verification:
        answer = _final(response)
        if answer is None or not answer.text:
            return self.say("no_answer", None)
        if len(answer.text) > MAX_ANSWER:
            return self.say("unparseable", answer.text[:100] + "…", "too long")
        if not _says_something(answer.text):
            return self.say("unparseable", answer.text, "punctuation only")
        if is_withdrawn(response, answer):
            return self.say("unparseable", answer.text, "taken back by what stands around it")
        wanted = {plain(text) for text in _answers(spec)}
        known = any(plain(text) in wanted for text in _readings(answer.text))
        return self.say("correct" if known else "wrong", answer.text)


def plain(text: str) -> str:
    """A text as it is compared.

    >>> plain("The  Café.") == plain("cafe\\u0301")
    True
    >>> plain("x ≤ 3") == plain("x ≥ 3")
    False
    """
    text = unmark(_MARKUP.sub(r"\1", text)).translate(_TYPOGRAPHY).strip()
    for wrapping in (_QUOTED, _IN_DOLLARS):
        if found := wrapping.fullmatch(text):
            text = next(inside for inside in found.groups() if inside is not None)
    text = _ABBREVIATED.sub("", _LAST_STOP.sub("", text.strip()))
    folded = _WORD.sub(_fold, unicodedata.normalize("NFC", text))
    folded = _ARTICLE.sub("", unicodedata.normalize("NFC", folded), count=1)
    return _AROUND_SIGNS.sub(r"\1", " ".join(folded.split()))


def _fold(word: re.Match[str]) -> str:
    """A word without its case where that is a matter of style: nile, Nile and NILE are one word.

    Case is the meaning of a letter (x is not X), of two capitals (CO is not Co), inside a word (mW,
    AaBb), of a letter twice (Aa) and of a short word after a number (5 Mg is not 5 mg).
    """
    text = word[0]
    if text.islower():
        return text.casefold()
    before = word.string[max(0, word.start() - 2) : word.start()]
    unit = len(text) < 3 and bool(_AFTER_NUMBER.search(before))
    capitalised = text[0].isupper() and text[1:].islower() and text[1:] != text[0].lower()
    shouted = len(text) > 2 and text.isupper()
    return text.casefold() if (capitalised or shouted) and not unit else text


def _readings(text: str) -> Iterator[str]:
    """What an answer as written may mean: itself, without "the answer is", without です, A dog."""
    verdict = verdict_word(text)
    if verdict is not None:
        yield verdict
    for read in (text, text[announcement_end(text) :]):
        yield read
        yield _ANY_ARTICLE.sub("", read, count=1)
        yield f"A{read[1:]}" if read.startswith("a ") else read
        yield drop_closing(read)


def _final(response: str) -> Mark | None:
    """The last section, else all boxes as one answer, else the last mark or the one line."""
    marks = find_marks(response)
    for how in ("tag", "box"):
        of_kind = [mark for mark in marks if mark.how == how]
        if not of_kind or of_kind[-1].text is None:
            if of_kind:
                return of_kind[-1]
            continue
        texts = [mark.text for mark in of_kind if mark.text]
        if sum(map(len, texts)) > MAX_ANSWER:
            return of_kind[-1]._replace(text=" ".join(texts))  # refused for its length
        different = {plain(text): text for text in texts}
        return of_kind[-1]._replace(text=", ".join(different.values()))
    return marks[-1] if marks else _emphasised(response) or whole_answer(response)


def _emphasised(response: str) -> Mark | None:
    """The only words in bold of a last line that says no more than they are it: "It was written by
    **Jane Austen**." """
    start = response.rstrip().rfind("\n") + 1
    line = response[start:].rstrip()
    bold = [*_BOLD.finditer(line)] if len(line) <= MAX_SENTENCE else []
    if len(bold) != 1:
        return None
    around = line[: bold[0].start()] + " " + line[bold[0].end() :]
    if DOUBT.search(around) or is_open(around) or _NEXT_SENTENCE.search(line[bold[0].end() :]):
        return None
    end = start + bold[0].end()
    return Mark(start, bold[0]["inside"].strip(), "whole", end) if around.strip(" .") else None


def _answers(spec: Mapping[str, Any]) -> list[str]:
    answer = spec.get("answer")
    answers = answer if isinstance(answer, list) else [answer]
    return [item for item in answers if isinstance(item, str)] if answers else []


def _says_something(text: str) -> bool:
    """Whether a text holds a letter, a digit or a symbol, and not only punctuation."""
    return any(unicodedata.category(character)[0] in "LNS" for character in plain(text))
