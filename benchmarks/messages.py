"""Labelled texts from translated software messages, read from this machine's gettext catalogues.

They were not written for this project, so they show how well the F1 on generated texts generalizes.
Errors in rules of a language that showed here were fixed, but no threshold was fitted to them.
Their labels are noisier: translators leave terms, and sometimes clauses, in English.
"""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from texts import LANGUAGES, NEAR, UNSPACED, Labelled, joined

FOLDER = Path("/usr/share/locale")
FOLDERS = {"zh": ("zh_CN",), "pt": ("pt_BR", "pt"), "no": ("nb",)}
PER_LANGUAGE = 40  # clean texts, and as many mixed ones
MESSAGES = (6, 40)  # a text
WORDS, LETTERS = 7, 16  # a message, at least; in languages without spaces, letters

_PLACEHOLDER = re.compile(r"%(?:\d+\$)?[-#0 +']*[\d*.]*(?:hh|ll|[hlLqjzt])?[a-zA-Z]|\{\w*\}")
_NOT_PROSE = re.compile(r"[<>=|\\/@#$_&~^*\[\]]|--|\w[.:]\w|[A-Z]{4}")
_WORD = re.compile(r"[^\W\d_]{2,}")


def catalogue(path: Path) -> Iterator[tuple[str, str]]:
    """Read a compiled gettext catalogue: English messages and their translations."""
    data = path.read_bytes()
    order = "<" if data[:4] == b"\xde\x12\x04\x95" else ">"
    count, originals, translations = struct.unpack_from(f"{order}3I", data, 8)
    for number in range(count):
        pair = []
        for table in (originals, translations):
            size, start = struct.unpack_from(f"{order}2I", data, table + 8 * number)
            pair.append(data[start : start + size].decode("utf-8", "replace"))
        yield pair[0].rpartition("\x04")[2], pair[1]


def prose(message: str, language: str) -> str | None:
    """Return a message as a sentence, or None for a term, a table or the syntax of a command."""
    text = _PLACEHOLDER.sub("3", message.partition("\0")[0]).strip()
    if "\n" in text or "�" in text or _NOT_PROSE.search(text):
        return None
    words = _WORD.findall(text)
    enough = sum(map(len, words)) >= LETTERS if language in UNSPACED else len(words) >= WORDS
    return text if enough else None


def messages(language: str, folder: Path) -> list[str]:
    """Return the distinct sentences of a language, without untranslated ones."""
    found: dict[str, None] = {}
    for name in FOLDERS.get(language, (language,)) if language != "en" else ("de", "fr"):
        for path in sorted((folder / name / "LC_MESSAGES").glob("*.mo")):
            for original, translated in catalogue(path):
                text = prose(original if language == "en" else translated, language)
                if text is None or (language != "en" and _untranslated(original, text)):
                    continue
                found[text] = None
    return sorted(found)


def _untranslated(original: str, text: str) -> bool:
    words = {word.lower() for word in _WORD.findall(text)}
    return 4 * len(words & {word.lower() for word in _WORD.findall(original)}) > len(words)


def message_texts(seed: int = 0, folder: Path = FOLDER) -> list[Labelled]:
    """Return texts of some messages each. Every second text has one or two in another language."""
    rng = random.Random(seed)
    donors = [*LANGUAGES, "nl", "pl", "tr", *(name for names in NEAR.values() for name in names)]
    banks = {name: messages(name, folder) for name in dict.fromkeys(donors)}
    texts = []
    for language in LANGUAGES:
        near = [name for name in NEAR.get(language, ()) if banks[name] and name != "zh"]
        others = [name for name in banks if name != language and banks[name]]
        if language == "ja":
            others.remove("zh")  # every kanji is a Chinese letter too
        for number in range(2 * PER_LANGUAGE if banks[language] else 0):
            own = rng.choices(banks[language], k=rng.randint(*MESSAGES))
            foreign = []
            if number % 2:
                donor = rng.choice(near if near and number % 4 == 1 else others)
                foreign = rng.choices(banks[donor], k=rng.randint(1, 2))
            for sentence in foreign:
                own.insert(rng.randrange(len(own) + 1), sentence)
            category = "mixed" if foreign else "clean"
            text = joined(rng, language, own)
            share = sum(map(len, foreign)) / len(text)
            texts.append(
                Labelled(text, language, "", bool(foreign), category, share, tuple(foreign))
            )
    rng.shuffle(texts)
    return texts
