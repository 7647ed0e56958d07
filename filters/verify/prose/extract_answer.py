"""Finding the final answer of a response, in linear time.

A response is what follows the closed think section. Its answer is, in this order: the last
`\\boxed` or `\\fbox` (with those before it that belong to the same answer), the last `<answer>`
section, what follows the last `####`, the last phrase that announces an answer (in ten languages),
or the whole of a response that is one short line. A box or section that is cut off is no answer,
and neither is anything in a response that opens or closes another think section.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from filters.verify.prose.answer_line import (
    BLANKS,
    DOUBT,
    drop_proof_mark,
    drop_reason,
    line_end,
    plain_value,
    stated_value,
)
from filters.verify.prose.last_line import GUESS, MAX_LINE, MAX_WHOLE, last_line_value
from filters.verify.prose.phrases import announcement_end
from filters.verify.prose.sentence_value import sentence_value
from filters.verify.prose.stated_values import differ
from filters.verify.prose.surroundings import has_second_thought, is_supposed, is_taken_back
from filters.verify.prose.word_classes import IF, find_words, has

How = Literal["box", "tag", "hash", "phrase", "whole"]

MAX_BOXES = 16
MAX_PHRASES = 32

_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)\s*(?P<open>\{)?|\\[\s\S]|[{}]")
_BARE_BOX = re.compile(r"[^\s${}\\][^\s${}]{0,40}")
_BETWEEN_BOXES = re.compile(r"\\text\s*\{([^{}]*)\}|\\(?:quad|qquad|lor|land|[,;:!()\[\] \\])")
_SEPARATE = re.compile(
    r"(?<![^\W\d_])(?:no|not|wait|actually|instead|rather|should|correct\w*|final\w*|answer\w*|"
    r"therefore|thus|hence|check\w*|then|but|however|mistake|wrong|result|sorry|oops|so|because|"
    r"since|if|when|gives?|means?|verif\w*)(?![^\W\d_])|答案|所以|因此|不对|应该",
    re.IGNORECASE | re.DOTALL,
)
"""What between two boxes says that the later one starts an answer of its own."""

MAX_BETWEEN = 200

_LIST_ITEM = re.compile(r"\n\s*(?:\d{1,2}[.)]|[-*•]|\(?[a-z\d]{1,3}\))\s")
_NAME = re.compile(r"(?<![A-Za-z\\_^/*+)}\d-])([A-Za-z])(?:_\{?\w\}?)?\s*=\s*\$?\s*$")
_LONG_WORD = re.compile(r"[^\W\d_]{2,}")

_PHRASE = re.compile(
    r"(?:"
    r"(?:final|correct)\s+answer(?:\s+is)?|\banswer\s+is|\banswer(?=\s*\*{0,2}\s*(?:[:：]|\\[\[(]|\${1,2}\s))"
    r"|(?:^|\n)[ \t]*(?:\#{1,6}|\*\*)?[ \t]*(?:final[ \t]+)?answer[ \t]*:?[ \t]*\**[ \t]*(?=\n)"
    r"|最终答案|答案|答え?(?=\s*(?:は|[:：]))|(?:정답|답)(?=\s*(?:은|는|[:：]))"
    r"|(?:réponse|reponse)(?:\s+(?:finale|correcte|exacte|juste))?(?=\s*(?:est\b|[:：]))"
    r"|respuesta(?:\s+(?:final|correcta))?(?=\s*(?:es\b|[:：]))"
    r"|resposta(?:\s+(?:final|correta|certa))?(?=\s*(?:é\b|[:：]))"
    r"|risposta(?:\s+(?:finale|corretta|esatta|giusta))?(?=\s*(?:è\b|[:：]))"
    r"|(?:die[ \t]+lösung|la[ \t]+solución|la[ \t]+solution|a[ \t]+solução|la[ \t]+soluzione)"
    r"(?=\s+(?:ist|lautet|es|est|é|è)\b)"
    r"|antwort(?=\s*(?:lautet\b|ist\b|[:：]))"
    r"|(?:lautet|ist)[ \t]+(?:(?:daher|also|somit|folglich|demnach)[ \t]+)?die[ \t]+"
    r"(?:(?:richtige|endgültige)[ \t]+)?antwort(?=[ \t]+[$\\*(\d−-])"
    r"|ответ(?=\s*(?:равен\b|[:：—–-]))"
    r")"
    r"(?:\s|\*|[:：—–】]|(?:是|为|は|은|는)|(?:exactly|therefore|thus|simply|clearly|hence|indeed|precisely|just|also|daher|somit|folglich|demnach|genau|donc|alors|ainsi|exactement|entonces|así|exactamente|por\s(?:lo\s)?tanto|portanto|então|assim|exatamente|quindi|dunque|pertanto|esattamente|значит|следовательно|ровно)(?=\s)|(?:est|es|é|è|lautet|ist|равен)(?=[\s:：]))*",
    re.IGNORECASE,
)
_PHRASE_LETTERS = (
    "nswer",
    "NSWER",
    "答",
    "답",
    "ponse",
    "espuesta",
    "esposta",
    "isposta",
    "ntwort",
    "твет",
    "ösung",
    "olución",
    "olução",
    "oluzione",
    "la solution",
)
_HASHES = "####"
_OPENING_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_DISPLAY = (("$$", "$$"), ("\\[", "\\]"), ("```", "```"))
_STRUCK = re.compile(r"~~[^~\s](?:[^~\n]*[^~\s])?~~|<(?:s|del|strike)>", re.IGNORECASE)
_EUROPEAN = re.compile(
    r"(?:réponse|reponse|respuesta|resposta|risposta|antwort|ответ|die\s|la\s|a\s)", re.IGNORECASE
)
"""Phrases of languages where 1.500 is a thousand and a half."""

_THOUSANDS = re.compile(r"[-−]?\d{1,3}(?:\.\d{3})*\.\d\d0")
_ANOTHER = re.compile(r"[ \t]*(?:and|or|,|;)?[ \t]*(?:\\\[|\$)")
"""Another displayed formula on the same line."""

_TEMPLATE_TOKEN = re.compile(
    r"(?:<\|im_start\|>(?:user|assistant)?|<[|｜][^<>|｜\s]{1,40}[|｜]>|</s>|<eos>|<end_of_turn>|<end_of_text>|\[EOS\]|<pad>)\s*$"
)
_EXPLICIT = ("\\boxed", "\\fbox", "<answer>", "</answer>")
_FINAL = re.compile(r"final\s+answer\s*\*{0,2}\s*[:：]|最终答案", re.IGNORECASE)
_CLOSING = "I hope it is correct"
_RETRACTED = re.compile(
    r"\\boxed|<answer>|final answer|(?<![^\W\d_])(?:incorrect|wrong|mistake|sorry|actually|wait|"
    r"oops|correct(?:ed|ion)?)(?![^\W\d_])",
    re.IGNORECASE,
)
_COPULA = re.compile(r"\s*(?:です|でした|である|だ|입니다|이다|이에요|예요)[.。！!]?\s*$")
_VERDICT = re.compile(r"\*{0,2}(?P<word>Yes|No|True|False)\*{0,2}\s*[.,;:—–]\*{0,2}\s+\w")
_VERDICTS = re.compile(r"\b(?:yes|no|true|false)\b", re.IGNORECASE)
"""Yes, such a number exists: the word says it all."""


class Answer(NamedTuple):
    """A final answer as written, and what marked it."""

    text: str
    how: How


def final_answer(
    response: str, *, prefer: tuple[How, ...] = ("box", "tag"), trusted: bool = False
) -> Answer | None:
    """The answer of a response, or None where it gives none.

    `prefer` orders the two explicit marks; if the first is there but cut off, there is no answer.
    A `trusted` text is a source's own solution: what is marked in it is its answer unless it says
    that it was wrong.
    """
    answer = _marked(_without_closing(_without_template_tokens(response)), prefer, trusted)
    return None if answer is not None and _STRUCK.search(answer.text) is not None else answer


def _marked(response: str, prefer: tuple[How, ...], trusted: bool) -> Answer | None:
    if "<think>" in response or "</think>" in response:
        return None
    finders = {"box": _boxed, "tag": _tagged}
    for how in prefer:
        text = finders[how](response, trusted)
        if text is not None:
            return _unopposed(response, _restated(response) or Answer(_unannounced(text), how))
    at = response.rfind(_HASHES)
    phrase = _last_phrase(response)
    if at >= 0 or phrase is not None:
        kind: How = "hash" if at >= 0 else "phrase"
        start = at + len(_HASHES) if at >= 0 else phrase.end() if phrase is not None else 0
        answer = _line(response[start:], kind)
        end = _end_of_line(response, start)
        if answer is None or has_second_thought(response, end, answer.text):
            return None
        european = phrase is not None and at < 0 and _EUROPEAN.match(phrase[0].strip()) is not None
        return None if european and _THOUSANDS.fullmatch(answer.text) else answer
    concluded = last_line_value(response)
    if concluded:
        return Answer(concluded, "phrase")
    whole = response.strip()
    if 0 < len(whole) <= MAX_WHOLE and "\n" not in whole:
        return _said_in_a_line(whole)
    return None


def _unannounced(text: str) -> str:
    """What a box or section holds, without "The answer is" before it."""
    if not text[:1].isalpha() and not text.startswith("\\text"):
        return text
    said = _OPENING_TEXT.match(text)
    start = announcement_end(said[1]) if said is not None else announcement_end(text)
    if not start or (said is not None and said[1][start:].strip()):
        return text
    if said is not None:
        return text[said.end() :].strip() or text
    line = _line(text[start:], "tag")
    return text if line is None or DOUBT.search(text) is not None else line.text


def _said_in_a_line(whole: str) -> Answer | None:
    """A response of one line: what it states, or the whole of it."""
    verdict = verdict_word(whole)
    if verdict is not None:
        return Answer(verdict, "whole")
    guessed = GUESS.search(whole) is not None
    text = plain_value(whole if guessed else stated_value(plain_value(whole)))
    return Answer(text, "whole") if text else None


def verdict_word(line: str) -> str | None:
    """The first word of "Yes, such a number exists.", where the rest stands by it.

    >>> verdict_word("Yes, it is prime."), verdict_word("Yes, if it is odd.")
    ('Yes', None)
    """
    verdict = _VERDICT.match(line)
    if verdict is None:
        return None
    rest = line[verdict.end() - 1 :]
    if DOUBT.search(rest) or _VERDICTS.search(rest) or has(find_words(rest), IF):
        return None
    return verdict["word"]


def _end_of_line(response: str, start: int) -> int:
    """Where the line ends on which what follows a mark begins."""
    begins = (
        start
        + len(response[start : start + MAX_LINE])
        - len(response[start : start + MAX_LINE].lstrip(" \t\r\n*:："))
    )
    return begins + line_end(response[begins : begins + MAX_LINE])


def _unopposed(response: str, answer: Answer) -> Answer | None:
    """The answer of a box or section; None where it is empty, or another number is given as well:
    in a section, or by a phrase or a line of hashes behind them all."""
    if not answer.text.strip():
        return None
    last = max(map(response.rfind, _EXPLICIT))
    tag = response.rfind("<answer>")
    end = response.find("</answer>", tag)
    others = [plain_value(response[tag + len("<answer>") : end])] if 0 <= tag < end else []
    at = response.rfind(_HASHES)
    if at > last:
        others.append(response[at + len(_HASHES) :].strip().split("\n", 1)[0])
    phrase = _last_phrase(response, max(last, 0))
    if phrase is not None:
        said = _line(response[phrase.end() :], "phrase")
        others.append(said.text if said else "")
    return None if any(differ(answer.text, other) for other in others) else answer


def _restated(response: str) -> Answer | None:
    """What a line "Final Answer: …" gives after the last box, where no box is in it."""
    phrase = _last_phrase(response, max(0, *map(response.rfind, _EXPLICIT)))
    if phrase is None:
        return None
    before = response[max(0, phrase.start() - 24) : phrase.end()]
    answer = _line(response[phrase.end() :], "phrase") if _FINAL.search(before) else None
    if answer and has_second_thought(response, _end_of_line(response, phrase.end()), answer.text):
        return Answer("", "phrase")
    return answer


def last_mark(response: str) -> Answer | None:
    """The answer at whichever mark comes last: for letters, where an early box may be scratch."""
    phrase = _last_phrase(response)
    marks: list[tuple[int, How]] = [
        (max(response.rfind("\\boxed"), response.rfind("\\fbox")), "box"),
        (response.rfind("<answer>"), "tag"),
        (response.rfind(_HASHES), "hash"),
        (phrase.start() if phrase else -1, "phrase"),
    ]
    at, how = max(marks)
    if at < 0:
        return final_answer(response)
    if how in ("box", "tag"):
        return final_answer(response, prefer=("tag", "box") if how == "tag" else ("box", "tag"))
    if how == "hash":
        return _line(response[at + len(_HASHES) :], how)
    assert phrase is not None
    return _line(response[phrase.end() :], how)


def _last_phrase(response: str, least: int = 0) -> re.Match[str] | None:
    """The last phrase from `least` on that announces an answer. Looks only near its rarest letters:
    a regular expression over the whole of a long response would take most of the time there is."""
    end = len(response)
    for _ in range(MAX_PHRASES):
        end = max(response.rfind(letters, least, end) for letters in _PHRASE_LETTERS)
        if end < 0:
            return None
        for found in _PHRASE.finditer(response, max(0, end - 24), end + MAX_LINE):
            here = least <= found.start() <= end < found.end()
            if here and not is_supposed(response, found.start()):
                return found
    return None


def _boxed(response: str, trusted: bool) -> str | None:
    """What the last boxes hold; "" if the last one is cut off or empty, None if there is none."""
    first = min((at for at in map(response.find, ("\\boxed", "\\fbox")) if at >= 0), default=-1)
    if first < 0:
        return None
    boxes, cut_off = _boxes(response, first)
    if cut_off:
        return ""
    boxes = [(start, end, text) for start, end, text in boxes if text.strip()]
    if not boxes:
        return ""
    start, last, text = boxes.pop()
    texts, names = [text.strip()], [_name_before(response, start)]
    while boxes and len(texts) < MAX_BOXES:
        previous, end, text = boxes.pop()
        if start - end > MAX_BETWEEN or not _one_answer(response[end:start]):
            break
        texts.append(text.strip())
        names.append(_name_before(response, previous))
        start = previous
    texts.reverse()
    if "" not in names and len(set(names)) == len(names) > 1 and "=" not in "".join(texts):
        texts = [f"{name}={text}" for name, text in zip(reversed(names), texts, strict=True)]
    answer = texts[0] if len(set(texts)) == 1 else ", ".join(texts)
    return "" if is_taken_back(response, start, last, answer, trusted) else answer


def _name_before(response: str, box: int) -> str:
    """The letter that is said to be what the box holds: x of $x = \\boxed{2}$, else ""."""
    found = _NAME.search(response, max(0, box - 16), box)
    return found[1] if found is not None else ""


def _one_answer(between: str) -> bool:
    """Whether two boxes with this between them are one answer: on one line, or as items of a list,
    unless a second thought starts there; on several lines if nothing is said between."""
    plain = _BETWEEN_BOXES.sub(lambda found: f" {found[1] or ''} ", between)
    if _SEPARATE.search(plain) is not None:
        return False
    if "\n" not in plain or _LIST_ITEM.search(plain) is not None:
        return True
    return len(_LONG_WORD.findall(plain)) <= 2


def _boxes(response: str, first: int) -> tuple[list[tuple[int, int, str]], bool]:
    """The outermost complete boxes (start, end, content) in order; whether the last is cut off."""
    boxes: list[tuple[int, int, str]] = []
    opened: list[tuple[int, int] | None] = []  # per open brace: its box's (start, content), or None
    skip_to = 0
    for token in _BOX_TOKEN.finditer(response, first):
        mark = token[0]
        if token.start() < skip_to:
            continue
        if mark.startswith(("\\boxed", "\\fbox")):
            if token["open"]:
                opened.append((token.start(), token.end()))
            elif bare := _BARE_BOX.match(response, token.end()):
                skip_to = bare.end()
                boxes.append((token.start(), bare.end(), bare[0].rstrip(".,")))
        elif mark == "{":
            opened.append(None)
        elif mark == "}" and opened:
            box = opened.pop()
            if box is not None:
                start, content = box
                while boxes and boxes[-1][0] > start:
                    boxes.pop()  # boxes inside this one
                boxes.append((start, token.end(), response[content : token.start()]))
    unclosed = max((box[0] for box in opened if box is not None), default=-1)
    return boxes, unclosed >= 0 and (not boxes or unclosed > boxes[-1][0])


def _tagged(response: str, trusted: bool) -> str | None:
    """The last `<answer>` section; "" if it is cut off, None if there is none."""
    start = response.rfind("<answer>")
    if start < 0:
        return None
    end = response.find("</answer>", start)
    if end < 0:
        return ""
    text = plain_value(response[start + len("<answer>") : end])
    end += len("</answer>")
    return "" if is_taken_back(response, start, end, text, trusted) else text


def _line(rest: str, how: How) -> Answer | None:
    """The first line of what follows a mark, or the displayed block if one comes first."""
    rest = rest[:MAX_LINE].lstrip(" \t\r\n*:：")
    for opening, closing in _DISPLAY:
        if rest.startswith(opening):
            end = rest.find(closing, len(opening))
            text = rest[len(opening) : end] if end >= 0 else ""
            if end >= 0 and _ANOTHER.match(rest, end + len(closing)) is not None:
                return None
            return Answer(text.strip(), how) if text.strip() else None
    line = _COPULA.sub(
        "", drop_proof_mark(BLANKS.sub("  ", rest[: line_end(rest)].replace("\n", " ")))
    )
    text = sentence_value(line) or plain_value(stated_value(drop_reason(line)))
    return Answer(text, how) if text else None


def _without_template_tokens(response: str) -> str:
    """Without the marks that a chat template puts after a response."""
    for _ in range(4):
        tail = _TEMPLATE_TOKEN.search(response, max(0, len(response) - 60))
        if tail is None:
            break
        response = response[: tail.start()]
    return response


def _without_closing(response: str) -> str:
    """Without what follows the closing sentence of Minerva's prompt, if it takes nothing back."""
    at = response.find(_CLOSING)
    if at < 0 or _RETRACTED.search(response, at + len(_CLOSING)) is not None:
        return response
    return response[:at]
