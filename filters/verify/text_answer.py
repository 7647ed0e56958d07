"""Short free text: equal after case, punctuation, articles and Unicode forms are set aside."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from filters.verify.base import Immediate
from filters.verify.extract_answer import final_answer
from filters.verify.verification import Verification

_MARKUP = re.compile(r"\\(?:text|mathrm|mathbf|textbf|textit|emph)\s*\{([^{}]*)\}")
_PUNCTUATION = re.compile(
    r"(?<!\d)[.,](?!\d)|(?<=\d)[.,](?!\d)|[^\w\s.,+\-/%°$€£<>=#&']|(?<!\w)'|'(?!\w)"
)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b(?=\s+\w)")


class TextVerifier(Immediate):
    """Verifier of `{"kind": "text", "answer": "…" or ["…", …]}`: any one of several will do."""

    METHOD = "text"

    def problem(self, spec: Mapping[str, Any]) -> str | None:
        if not all(_plain(answer) for answer in _answers(spec)) or not _answers(spec):
            return f"answer is {spec.get('answer')!r:.80}; it must be words or a list of them"
        return None

    def judge(self, spec: Mapping[str, Any], response: str) -> Verification:
        answer = final_answer(response, prefer=("tag", "box"))
        if answer is None:
            return self.say("no_answer", None)
        given = _plain(answer.text)
        if not given:
            return self.say("unparseable", answer.text, "symbols only")
        known = any(given == _plain(wanted) for wanted in _answers(spec))
        return self.say("correct" if known else "wrong", answer.text)


def _answers(spec: Mapping[str, Any]) -> list[str]:
    answer = spec.get("answer")
    answers = answer if isinstance(answer, list) else [answer]
    return [item for item in answers if isinstance(item, str)] if answers else []


def _plain(text: str) -> str:
    """The words of a text, for comparison only.

    >>> _plain("The  Café.") == _plain("café")
    True
    """
    text = unicodedata.normalize("NFKC", _MARKUP.sub(r"\1", text)).casefold().replace("’", "'")
    text = _PUNCTUATION.sub(" ", text.replace("$", " ") if text.count("$") == 2 else text)
    return " ".join(_ARTICLES.sub(" ", text).split())
