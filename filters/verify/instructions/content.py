"""Checks of what a response says: words, letters, language, case, beginning and end."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from filters.verify.instructions.base import Bounds, Check, Finding
from filters.verify.instructions.counting import count_occurrences

Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Words = Annotated[tuple[Text, ...], Field(min_length=1, max_length=50)]

_QUOTES = {'"': '"', "“": "”", "„": "“", "«": "»", "「": "」", "‘": "’"}
_COMMAS = {",": ",，、،"}
_LETTERED = re.compile(r"[^\W\d_]+")


class Keywords(Check):
    """Every word or phrase occurs, as a whole word and in any case."""

    check: Literal["keywords"] = "keywords"
    include: Words

    def judge(self, response: str) -> Finding:
        counts = {word: count_occurrences(response, word) for word in self.include}
        missing = [word for word, (_, anywhere) in counts.items() if not anywhere]
        if missing:
            return Finding(False, f"{missing[0]!r} is missing")
        inside = [word for word, (whole, _) in counts.items() if not whole]
        if inside:
            return Finding(None, f"{inside[0]!r} occurs inside of another word only")
        return Finding(True)

    def describe(self) -> str:
        return (
            f"Use {'these words' if len(self.include) > 1 else 'the word'}: {_list(self.include)}."
        )


class Forbidden(Check):
    """No word or phrase occurs as a whole word. Inside of another word it is allowed."""

    check: Literal["forbidden"] = "forbidden"
    words: Words

    def judge(self, response: str) -> Finding:
        found = [word for word in self.words if count_occurrences(response, word)[0]]
        return Finding(not found, f"{found[0]!r} occurs" if found else "")

    def describe(self) -> str:
        return f"Do not use {'these words' if len(self.words) > 1 else 'the word'}: " + (
            f"{_list(self.words)}."
        )


class KeywordCount(Bounds):
    """How often a word occurs."""

    check: Literal["keyword_count"] = "keyword_count"
    word: Text

    def judge(self, response: str) -> Finding:
        return self.within(*count_occurrences(response, self.word))

    def describe(self) -> str:
        return f"Use the word {self.word!r} {self.bound()} times."


class LetterCount(Bounds):
    """How often a letter occurs, in either case. An accented letter is another one."""

    check: Literal["letter_count"] = "letter_count"
    letter: Annotated[str, StringConstraints(min_length=1, max_length=1)]

    def judge(self, response: str) -> Finding:
        text = unicodedata.normalize("NFC", response).casefold()
        return self.within(text.count(self.letter.casefold()))

    def describe(self) -> str:
        return f"Let the letter {self.letter} occur {self.bound()} times."


class ForbiddenCharacters(Check):
    """None of these characters occurs. A comma stands for the commas of every script."""

    check: Literal["forbidden_characters"] = "forbidden_characters"
    characters: Text

    def judge(self, response: str) -> Finding:
        listed = "".join(_COMMAS.get(character, character) for character in self.characters)
        found = next((character for character in listed if character in response), None)
        return Finding(found is None, f"{found!r} occurs" if found else "")

    def describe(self) -> str:
        if self.characters == ",":
            return "Use no comma in the whole response."
        return f"Use none of these characters: {' '.join(self.characters)}"


class Language(Check):
    """The whole response is in one language (ISO 639-1)."""

    check: Literal["language"] = "language"
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}$")]

    def judge(self, response: str) -> Finding:
        from filters.language_id.prompt_language import detect_language

        found = detect_language(response[:20_000])
        if found is None:
            return Finding(None, "the language is unclear")
        return Finding(found == self.language, f"it is {found}, not {self.language}")

    def describe(self) -> str:
        return f"Write the whole response in {_NAMES.get(self.language, self.language)}."


_NAMES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian",
    "pt": "Portuguese", "zh": "Chinese", "ja": "Japanese", "ko": "Korean", "ru": "Russian",
    "ar": "Arabic", "hi": "Hindi", "pl": "Polish", "tr": "Turkish", "vi": "Vietnamese",
}  # fmt: skip


class Case(Check):
    """Every letter is a capital, or none is."""

    check: Literal["case"] = "case"
    case: Literal["upper", "lower"]

    def judge(self, response: str) -> Finding:
        cased = [character for character in response if character.upper() != character.lower()]
        if not cased:
            return Finding(False, "there is no letter that has a case")
        wrong = str.islower if self.case == "upper" else str.isupper
        found = next(filter(wrong, cased), None)
        size = "small" if self.case == "upper" else "a capital"
        return Finding(found is None, f"{found!r} is {size}" if found else "")

    def describe(self) -> str:
        if self.case == "upper":
            return "Write the whole response in capital letters."
        return "Write the whole response in small letters, without any capital."


class Capitals(Bounds):
    """How many words are all capitals. A single letter, such as I, may be counted or not."""

    check: Literal["capitals"] = "capitals"

    def judge(self, response: str) -> Finding:
        words = [word for word in _LETTERED.findall(response) if word.isupper()]
        return self.within(sum(len(word) > 1 for word in words), len(words))

    def describe(self) -> str:
        return f"Write {self.bound()} words in capital letters."


class StartsWith(Check):
    """The response begins with a text, in any case."""

    check: Literal["starts_with"] = "starts_with"
    text: Text

    def judge(self, response: str) -> Finding:
        start = response.strip()[: len(self.text) + 50]
        return Finding(_plain(start).startswith(_plain(self.text)), f"it starts {start[:40]!r}")

    def describe(self) -> str:
        return f"Begin the response with exactly this text: {self.text}"


class EndsWith(Check):
    """The response ends with a text, in any case; nothing follows it."""

    check: Literal["ends_with"] = "ends_with"
    text: Text

    def judge(self, response: str) -> Finding:
        end = response.strip()[-len(self.text) - 50 :]
        return Finding(_plain(end).endswith(_plain(self.text)), f"it ends {end[-40:]!r}")

    def describe(self) -> str:
        return f"End the response with exactly this text, with nothing after it: {self.text}"


class Quoted(Check):
    """The whole response is between quotation marks."""

    check: Literal["quoted"] = "quoted"

    def judge(self, response: str) -> Finding:
        text = response.strip()
        closing = _QUOTES.get(text[:1])
        return Finding(len(text) > 2 and closing is not None and text.endswith(closing))

    def describe(self) -> str:
        return "Put the whole response between double quotation marks."


class Choose(Check):
    """The response names exactly one of the options, as a whole word."""

    check: Literal["choose"] = "choose"
    options: Annotated[tuple[Text, ...], Field(min_length=2, max_length=50)]

    @model_validator(mode="after")
    def _different(self) -> Self:
        folded = [option.casefold() for option in self.options]
        if any(one in other for one in folded for other in folded if one is not other):
            raise ValueError("an option is part of another")
        return self

    def judge(self, response: str) -> Finding:
        found = [option for option in self.options if count_occurrences(response, option)[0]]
        return Finding(len(found) == 1, f"{len(found)} of the options are named")

    def describe(self) -> str:
        return f"Answer with exactly one of these: {_list(self.options)}."


class Repeat(Check):
    """The response begins by repeating a text, word by word, before anything else."""

    check: Literal["repeat"] = "repeat"
    text: Text

    def judge(self, response: str) -> Finding:
        start = _plain(response[: 3 * len(self.text) + 1000].strip().lstrip("\"'“"))
        return Finding(start.startswith(_plain(self.text)), f"it starts {start[:40]!r}")

    def describe(self) -> str:
        return f"First repeat this text word by word, and only then answer: {self.text}"


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _list(words: tuple[str, ...]) -> str:
    return ", ".join(map(repr, words))
