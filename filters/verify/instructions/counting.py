"""Words, sentences, paragraphs and lines of a text: the least and the most one may count."""

from __future__ import annotations

import re

Range = tuple[int, int]

_RUN = re.compile(r"[^\W_]+")
# Scripts that write no spaces between words: each sign is counted as one word.
_SIGN = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_SIGNS = re.compile(f"[{_SIGN}]")
_STOP = re.compile(r"[.!?…]+[\"'”’»)\]*_]*(?=\s|$)|[。！？]+")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-Za-z]|[A-Za-z](?:\.[A-Za-z])+|Mr|Mrs|Ms|Dr|Prof|St|vs|etc|No|Nr|approx|ca|bzw|"
    r"Fig|Jr|Sr|Inc|Ltd|Co|\d+)$"
)
_FENCE = re.compile(r"^\s*(?:```|~~~)")
_BULLET = re.compile(r"^(\s*)[-*+•–]\s+\S")
_NUMBERED = re.compile(r"^(\s*)\d{1,3}[.)]\s+\S")
_HEADING = re.compile(r"^\s*#{1,6}\s")


def count_words(text: str) -> Range:
    """Words: pieces between spaces that hold a letter or digit, or runs of letters and digits.

    Each sign of a script without spaces is a word.
    """
    signs = len(_SIGNS.findall(text))
    spaced = _SIGNS.sub(" ", text) if signs else text
    pieces = sum(1 for piece in spaced.split() if _RUN.search(piece))
    runs = len(_RUN.findall(spaced))
    return pieces + signs, max(pieces, runs) + signs


def count_sentences(text: str) -> Range:
    """Sentences: a stop before a space ends one. A stop after an abbreviation, an initial or a
    number may or may not, and so may the end of a line without a stop, such as a heading's."""
    sure = possible = 0
    for line in text.splitlines():
        if not _RUN.search(line):
            continue
        end, length = 0, len(line.rstrip())
        for stop in _STOP.finditer(line):
            before = line[max(end, stop.start() - 20) : stop.start()]
            said, end = line[end : stop.start()], stop.end()
            if not _RUN.search(said):
                continue
            possible += 1
            doubtful = stop[0].startswith(".") and _ABBREVIATION.search(before)
            sure += not doubtful or stop.end() == length
        if _RUN.search(line[end:]):  # a line that ends without a stop
            possible += 1
    return max(sure, 1 if possible else 0), possible


def split_paragraphs(text: str, separator: str = "blank") -> list[str]:
    """Paragraphs, without empty ones: between blank lines, or between lines of `separator`."""
    if separator == "blank":
        parts = re.split(r"\n[ \t]*(?:\n[ \t]*)+", text.strip())
    else:
        parts = re.split(rf"^[ \t]*{re.escape(separator)}[ \t]*$", text, flags=re.MULTILINE)
    return [part.strip() for part in parts if part.strip()]


def count_lines(text: str) -> int:
    """Lines that are not blank."""
    return sum(1 for line in text.splitlines() if line.strip())


def count_bullets(text: str, *, numbered: bool = False) -> Range:
    """Items of a list outside of code: those at the margin, and all with nested ones."""
    pattern = _NUMBERED if numbered else _BULLET
    outer = every = 0
    fenced = False
    for line in text.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced and (item := pattern.match(line)):
            every += 1
            outer += len(item[1].expandtabs(4)) < 2
    return outer, every


def count_headings(text: str) -> int:
    """Markdown headings."""
    return sum(1 for line in text.splitlines() if _HEADING.match(line))


def count_occurrences(text: str, word: str) -> Range:
    """How often a word or phrase occurs, whatever its case: as a whole word, and anywhere."""
    folded, wanted = text.casefold(), word.casefold()
    anywhere = folded.count(wanted)
    if not anywhere:
        return 0, 0
    if _SIGNS.search(wanted):
        return anywhere, anywhere
    left = r"(?<![^\W_])" if wanted[:1].isalnum() else ""
    right = r"(?![^\W_])" if wanted[-1:].isalnum() else ""
    whole = len(re.findall(f"{left}{re.escape(wanted)}{right}", folded))
    return whole, anywhere
