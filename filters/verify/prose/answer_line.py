"""The answer in the line after a mark, without the words that lead up to it or explain it."""

from __future__ import annotations

import re

from filters.verify.prose.afterthoughts import is_kept
from filters.verify.prose.clause_after import NO_MORE
from filters.verify.prose.stated_values import number_of

BLANKS = re.compile(r"[^\S\n]{3,}")
"""Blanks that patterns with `\\s+` would read again and again."""

DOUBT = re.compile(
    r"(?<![^\W\d_])(?:no|not|or|wait|maybe|actually|but|however|wrong|instead|rather|except|never|"
    r"neither|nor|unless|perhaps|possibly|either|otherwise|less|more|than|most|least|false|incorrect|mistaken|"
    r"kidding|nope|impossible|nobody|doubt|deny|claims|thinks|believes|refuse|[a-z]+n['’]t)"
    r"(?![^\W\d_])|不|或|[?？]",
    re.IGNORECASE,
)
"""Words that may turn what stands next to them into something else."""
STATEMENT = re.compile(
    r"(?P<subject>[A-Z][a-z]*,?\s[^\d\n]{2,160}?)\s(?:is|are|equals)\s+(?P<value>[^\n]+?)"
)
_REASON = re.compile(
    r"[,.;，。；]?\s+(?:because|since|as|which|where|i hope|hope|so that|porque|weil|denn|da|car|"
    r"parce|perché|pois|поскольку|потому|так как|(?:ya|puesto|dado|já|visto|étant donné|vu|dato|"
    r"visto) (?:que|che)|puisque|poiché)(?![^\W\d_])|[,，。]?\s*(?:因为|なぜなら)",
    re.IGNORECASE,
)
_CLOSER = re.compile(
    r"(?:is|are)\s+(?:the|our|my)\s+(?:final\s+|correct\s+)?(?:solution|answer|result|value)s?",
    re.IGNORECASE,
)
_DENIED_OTHER = re.compile(
    r"\s*(?:,\s*(?:and\s+)?not\s+[$\\]*-?\d[\d.,/]*\$?|\((?:see|from|as\s+shown)\s[^()]*\))[.\s]*$"
)
_PROOF_MARKS = ("\\square", "\\blacksquare", "\\qed", "□", "■", "▪")
_SENTENCE = re.compile(r"[.。]\s+(?=[^\W\d_])")


def drop_reason(line: str) -> str:
    """Without the closing sentence or the reason after an answer, if it takes nothing back."""
    line = NO_MORE.sub("", line)
    reason = _REASON.search(line)
    if reason is not None and reason.start() and DOUBT.search(line, reason.start()) is None:
        line = line[: reason.start()]
    sentence = _SENTENCE.search(line)
    if sentence is not None and sentence.start():
        said, rest = line[: sentence.start()], line[sentence.end() :]
        if is_kept(rest, said) and (DOUBT.search(rest) is None or number_of(said) is not None):
            line = said
    denied = _DENIED_OTHER.search(line)
    return line if denied is None else line[: denied.start()]


def plain_value(text: str) -> str:
    """Without the Markdown, dollar signs and full stop around it, and the words that lead up to the
    one formula in it.

    >>> plain_value("**the value is $x^2$.**")
    'x^2'
    """
    text = drop_proof_mark(text.strip()).strip("*` \t")
    pieces = text.split("$")
    if len(pieces) == 3 and "\\" not in pieces[0][-1:]:
        before, formula, after = pieces
        harmless = len(before) < 80 and not any(map(str.isdigit, before))
        if harmless and DOUBT.search(before) is None:
            after = after.strip("*` \t.。")
            if _CLOSER.fullmatch(after) or after == "!":
                after = ""
            return formula.strip() if not after else f"${formula}$ {after}"
    return text.removesuffix(".").strip("*` \t")


def stated_value(line: str) -> str:
    """What a sentence says its subject is: "The largest $n$ is 34" gives 34."""
    found = STATEMENT.fullmatch(line.strip().strip("*"))
    return line if found is None or DOUBT.search(found["subject"]) else found["value"]


def line_end(rest: str) -> int:
    """Where the first line ends; one that breaks off in an environment goes on to its end."""
    end = rest.find("\n")
    if end >= 0 and rest.count("\\begin{", 0, end) > rest.count("\\end{", 0, end):
        end = rest.find("\n", max(end, rest.find("\\end{", end)))
    return len(rest) if end < 0 else end


def drop_proof_mark(text: str) -> str:
    """Without the ∎ or \\square that ends a proof, if something stands before it."""
    text = text.rstrip()
    if text.endswith("∎"):
        return text[:-1].rstrip()
    for mark in _PROOF_MARKS:
        rest = text.removesuffix("$").removesuffix(mark)
        if rest != text.removesuffix("$") and text.endswith("$") == rest.endswith("$"):
            before = rest.removesuffix("$") if text.endswith("$") else rest
            return before.rstrip() if before[-1:].isspace() else text
    return text
