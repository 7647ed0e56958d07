"""Judge one suspect text: which of its words are foreign, and in which language.

The path (`path`) says where another language is likelier than the home language. What stands there
is checked once more: what is quoted, borrowed or from the question is mentioned, not used.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from filters.kernels import Bytes
from filters.language_id.mentions import CONTEXT, Question, borrowed, mentioned
from filters.language_id.path import likeliest_path, pooled
from filters.language_id.reader import FREQUENT, START_COST
from filters.language_id.readings import reading, states
from filters.language_id.scripts import (
    GROUPS,
    SCRIPT,
    SCRIPT_OF_LANGUAGE,
    SCRIPTS,
    UNSPACED,
    fold,
    script_table,
)
from filters.language_id.tables import LANGUAGES, UNLISTED, Scores, lexicon
from filters.language_id.targets import named_languages
from filters.language_id.words import (
    BEGINS,
    CAPITAL,
    FOREIGN,
    LATIN_TERM,
    LINKS,
    MIXED,
    OWN,
    SILENT,
    SURE,
    TERM,
    WORD_UNITS,
    Words,
)

LINK_LEAD = 24  # eighths of a nat that let a connective change the language by itself
LONE_LEAD = 40  # and that let function words do so where there are several
_PARTICLES = """a al and bin da das de del della den der des di do dos du e el en for ibn in la las
    le les los of on sur ten ter the to und upon van von y zu zur"""
PARTICLES = frozenset(_PARTICLES.split())
MAY_ENTER = 16  # languages that are followed at once
QUOTED_TO_SAID, QUOTED_MOST = 2, 12  # more words than that are not quoted to one that is said
NAMED_WORDS = 3  # of a language that is named near them are mentioned: "in Spanish it is el tema"
PROSE_WORDS, PROSE_SHARE = 8, 6  # hidden prose has so many words, one in six a function word
MOSTLY = 0.5  # and at most this share of all words is in the home language
TITLE_WORDS = 5  # that begin with a capital within a sentence are a title: "Cien años de soledad"
NAMED_WITHIN = 60  # bytes
CLAUSE = 6  # words; in fewer, one must not speak alone
REPEATED = 3  # words of a clause that is foreign because it was before
FURTHER = SECONDED = 8  # eighths of a nat
DIGITS = re.compile(r"[\d_]+")
NEAR = 4  # words around a stretch that a borrowed phrase may reach into it from
SCRIPTS_OF = {"zh": ("Han", "Simplified", "None"), "ja": ("Han", "Kana", "None")}
LONE_WORD = 4  # letters of a Latin word that is foreign by itself where it is not English

GREEK_LOOKALIKES = str.maketrans("αβεικνορτυχγωμ", "abeiknoptuxywu")
_ACCENTED_GREEK = frozenset("άέήίόύώΐΰ")


LATIN = frozenset(LANGUAGES["Latin"])
Places = npt.NDArray[np.int64]
Foreign = tuple[Places, str]  # words in a row, and their language or script


class Stretch(NamedTuple):
    """Foreign words in a row: their bytes, what they are, and how many (in quarters)."""

    start: int
    end: int
    label: str
    units: int
    by_words: bool  # in the script of the home language


@dataclass
class Verdict:
    """What one text holds, in quarters of words."""

    home: int
    foreign: list[Stretch]

    @property
    def units(self) -> int:
        return self.home + sum(stretch.units for stretch in self.foreign)

    @property
    def consistency(self) -> float:
        """Words of the home language over all words; 1 where there are none."""
        return self.home / self.units if self.units else 1.0


class Text:
    """One text being judged."""

    def __init__(
        self,
        home: str,
        masked: Bytes,
        words: Words,
        scores: Scores | None,
        question: Question,
        also: str | None,
    ) -> None:
        self.home, self.question, self.also = home, question, also
        self.reading = reading(home)
        self.words, self.scored = words, scores is not None
        self.scores = np.zeros((0, 0), np.uint8) if scores is None else scores
        self.raw = masked.tobytes()
        self.mentions: dict[
            tuple[int, int, str], tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]
        ] = {}
        self.exempt = np.zeros(len(self.words.start), bool)
        self.asked = np.zeros(len(self.words.start), bool)  # in what the question asks for
        self.quoted = np.zeros(len(self.words.start), bool)  # of these, by marks alone

    def verdict(self) -> Verdict:
        words = self.words
        worded = words.kind != SILENT
        by_script = list(self._of_other_scripts())
        by_path = list(self._of_other_languages())
        foreign = np.zeros(len(worded), bool)
        for places, _ in (*by_script, *by_path):
            foreign[places] = True
        at_home = worded & ~foreign & ~self.exempt
        at_home &= (words.kind == OWN) | (words.kind == SURE) | self.asked
        at_home &= ~self._names()
        home = int(words.units[at_home].sum())
        quoted = self.quoted & worded
        stretches = [self._stretch(places, label) for places, label in (*by_script, *by_path)]
        size = int(words.units[quoted].sum())
        if size > (1 if size > QUOTED_MOST * WORD_UNITS else QUOTED_TO_SAID) * home:
            # Far more is quoted than said: it is no mention any more.
            stretches += [self._stretch(places, "quoted") for places in _runs(quoted)]
        return Verdict(home, sorted(stretches))

    def may_be_prose(self) -> bool:
        """Can half of the text be foreign prose? As `is_prose`, but quick and of all languages."""
        kinds = self.words.kind
        if 2 * int((kinds == FOREIGN).sum()) >= int((kinds != SILENT).sum()):
            return True
        if not self.scored:
            return False
        used = (self.scores >= FREQUENT) & (self.scores > self.scores[:, [self.reading.home]])
        return 2 * PROSE_SHARE * int(used.any(axis=1).sum()) >= len(used)

    def is_prose(self, verdict: Verdict) -> bool:
        """Is most of the text foreign, in another script or with function words as prose has?"""
        words = self.words
        if verdict.consistency > MOSTLY:
            return False
        if any(not stretch.by_words and stretch.label not in LATIN for stretch in verdict.foreign):
            return True
        columns = {name: column for column, name in enumerate(states(self.home))}
        used, every = 0, 0
        for stretch in verdict.foreign:
            if stretch.label not in columns:
                continue
            first, after = np.searchsorted(words.start, (stretch.start, stretch.end))
            kinds, looks, rows = (
                words.kind[first:after],
                words.look[first:after],
                words.row[first:after],
            )
            every += int((kinds != SILENT).sum())
            rows = rows[(rows >= 0) & (looks & TERM == 0)]
            # The lexicon's own scores: here a word may come often, and with a capital.
            column, own = columns[stretch.label], self.reading.own[rows]
            if (kinds == LATIN_TERM).any():
                column -= self.reading.columns
            likely = self.reading.words[rows, column]
            used += int(((likely >= FREQUENT) & (likely > own)).sum())
        return every >= PROSE_WORDS and used * PROSE_SHARE >= every

    def _names(self) -> npt.NDArray[np.bool_]:
        words = self.words
        capital = (words.look & (CAPITAL | BEGINS)) == CAPITAL
        unlisted = (words.row < 0) | (self.reading.own[words.row] <= UNLISTED)
        names: npt.NDArray[np.bool_] = capital & (words.kind == OWN) & unlisted
        return names

    def _word(self, place: int) -> str:
        return self._strings(place, place + 1)[0]

    def _strings(self, first: int, after: int) -> list[str]:
        starts = self.words.start[first:after].tolist()
        ends = self.words.end[first:after].tolist()
        raw = self.raw
        return [raw[a:b].decode("utf-8", "ignore") for a, b in zip(starts, ends, strict=True)]

    def _folded(self, places: Places) -> tuple[str, ...]:
        """Return some words as the lexicon has them."""
        if not len(places):
            return ()
        first = int(places[0])
        strings = self._strings(first, int(places[-1]) + 1)
        return tuple(
            fold("\n".join(strings[place - first] for place in places.tolist())).split("\n")
        )

    def _stretch(self, places: npt.NDArray[np.int64], label: str) -> Stretch:
        words = self.words
        kinds = words.kind[places]
        written = {SCRIPT[name] for name in SCRIPTS_OF.get(self.home, SCRIPTS)}
        return Stretch(
            int(words.start[places[0]]),
            int(words.end[places[-1]]),
            label,
            int(words.units[places][kinds != SILENT].sum()),
            bool((kinds == OWN).any()) and written.issuperset(words.script[places].tolist()),
        )

    def _spoken(self, places: Places, languages: Container[str]) -> npt.NDArray[np.bool_]:
        """Mark the words that are used, not mentioned. The others are exempt from all counts.

        `languages` are those that they may be in.
        """
        key = (int(places[0]), int(places[-1]), str(languages))
        if key not in self.mentions:  # a text whose path is found twice asks twice
            self.mentions[key] = self._mentions(places, languages)
        marked, allowed = self.mentions[key]
        self.quoted[places[marked & ~allowed]] = True
        spoken: npt.NDArray[np.bool_] = ~marked & ~allowed
        self.exempt[places[~spoken]] = True
        return spoken

    def _mentions(
        self, places: Places, languages: Container[str]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Mark the words that are quoted or particles, and those that are borrowed or asked."""
        first, last = int(self.words.start[places[0]]), int(self.words.end[places[-1]])
        begin = max(0, first - CONTEXT)
        window = self.raw[begin : last + CONTEXT]
        text = window.decode("utf-8", "ignore")
        mentions = mentioned(text)
        marked = np.zeros(len(places), bool)
        if mentions:
            # Characters to bytes: each begins where a byte is no continuation of another.
            data = np.frombuffer(window, np.uint8)
            offsets = np.append(np.flatnonzero((data & 0xC0) != 0x80), len(data)) + begin
            starts = self.words.start[places]
            for start, end in mentions:
                marked |= (starts >= offsets[start]) & (starts < offsets[end])
        if self._is_named(places, languages) or self._is_title(places, languages):
            marked[:] = True
        begins = max(0, int(places[0]) - NEAR)
        strings = [
            word if word.isalpha() else DIGITS.sub("", word)
            for word in self._strings(begins, int(places[-1]) + NEAR + 1)
        ]
        if self.scored:
            marked |= self._particles(places)
        within = int(places[0]) - begins, int(places[-1]) + 1 - begins
        allowed = np.array(borrowed(strings)) | np.array(self.question.quotes(strings, *within))
        return marked, allowed[places - begins]

    def _is_named(self, places: Places, languages: Container[str]) -> bool:
        """Are these a few words of a language that is named near them, or in the question?"""
        if int(self.words.units[places].sum()) > NAMED_WORDS * WORD_UNITS:
            return False
        first, last = int(self.words.start[places[0]]), int(self.words.end[places[-1]])
        near = self.raw[max(0, first - NAMED_WITHIN) : last + NAMED_WITHIN]
        named = named_languages(near.decode("utf-8", "ignore")) | self.question.named
        return any(name in languages for name in named if name != self.home)

    def _is_title(self, places: Places, languages: Container[str]) -> bool:
        """Does a capital within a sentence begin a few words, where nouns have none?"""
        look = int(self.words.look[places[0]])
        return (
            look & (CAPITAL | BEGINS) == CAPITAL
            and 1 < len(places) <= TITLE_WORDS
            and self.home != "de"
            and bool((self.words.kind[places] == OWN).all())
            and "de" not in languages
        )

    # Other scripts

    def _of_other_scripts(self) -> Iterator[tuple[npt.NDArray[np.int64], str]]:
        kinds = self.words.kind
        odd = (kinds == FOREIGN) | (kinds == MIXED)
        if not odd.any():
            return
        for places in _runs(odd, through=kinds == SILENT):
            places = places[odd[places]]
            for place in places[kinds[places] == MIXED].tolist():
                if self._disguised(self._word(place)):
                    yield np.array([place]), "mixed letters"
                else:
                    self.exempt[place] = True
            others = places[kinds[places] == FOREIGN]
            if len(others):
                others = others[self._spoken(others, self._written_in(others))]
            label = self._script(others) if len(others) else None
            if label is not None and self._asked_for(label):
                self.asked[others] = True
            elif label is not None:
                yield others, label
            else:
                self.exempt[others] = True

    def _script(self, places: npt.NDArray[np.int64]) -> str | None:
        """Return the foreign script of some words; None for symbols."""
        counts = Counter(SCRIPTS[number] for number in self.words.script[places].tolist())
        if "Kana" in counts:
            return "Kana"
        script = counts.most_common(1)[0][0]
        if script == "Greek":
            text = "".join(self._word(place) for place in places)
            return script if _ACCENTED_GREEK.intersection(text) or len(places) > 2 else None
        if script not in UNSPACED and all(len(self._word(place)) == 1 for place in places.tolist()):
            return None  # the infinite cardinals, the Tate–Shafarevich group, letters as such
        return "Han" if script == "Simplified" else script

    def _written_in(self, places: Places) -> tuple[str, ...]:
        """Return the languages of the first word's script."""
        script = SCRIPTS[int(self.words.script[places[0]])]
        group = next((g for g in GROUPS.values() if script in g), (script,))
        return tuple(name for name, known_by in SCRIPT_OF_LANGUAGE.items() if known_by in group)

    def _asked_for(self, script: str) -> bool:
        """Is it the script of what the question asks for?"""
        if self.also not in SCRIPT_OF_LANGUAGE:
            return False
        known_by = SCRIPT_OF_LANGUAGE[self.also]
        return script in GROUPS.get("Han" if known_by == "Kana" else known_by, (known_by,))

    def _disguised(self, word: str) -> bool:
        """Has a word letters of another script in disguise?"""
        scripts = {SCRIPTS[number] for number in (_script_of(letter) for letter in word)}
        if "Cyrillic" in scripts and "Latin" in scripts:
            head = word.rstrip("абвгдеёжзийклмнопрстуфхцчшщъыьэюя")
            return not (head.isascii() and head.isupper())  # "JSONа": an acronym with an ending
        latin = fold(word).translate(GREEK_LOOKALIKES)
        return len(word) > 2 and latin.isascii() and lexicon().row(latin) >= 0

    # Other languages

    def _of_other_languages(self) -> Iterator[Foreign]:
        if not self.scored:
            return
        names, home = states(self.home), self.reading.home
        gains = pooled(self.scores, home)
        gains[home] = 0
        order = np.argsort(-gains)[:MAY_ENTER].tolist()
        allowed = [state for state in order if gains[state] > self.reading.costs[state]]
        if not allowed:
            return
        marks = [mark.copy() for mark in (self.exempt, self.asked, self.quoted)]
        accepted, rest = self._accepted(allowed)
        believed = [state for state in allowed if state in accepted or names[state] == self.also]
        if believed and len(believed) < len(allowed):
            # Without the languages that were not believed, their words may be another one's.
            self.exempt, self.asked, self.quoted = marks
            accepted, _ = self._accepted(believed)
        found = [(places, names[state]) for state, runs in accepted.items() for places in runs]
        found += self._said_again(found)
        yield from found
        if found:  # where one language came in, another needs less to be believed
            foreign = np.concatenate([places for places, _ in found])
            yield from (one for one in rest if not np.isin(one[0], foreign).any())

    def _said_again(self, found: list[Foreign]) -> list[Foreign]:
        """Return the clauses that repeat a foreign one to the letter.

        A word that comes again is little evidence, so a repeated clause may not have been found.
        """
        starts = np.flatnonzero(self.words.look & BEGINS)
        if not found or not len(starts):
            return []
        of_word = np.full(len(self.words.look), -1)
        for number, (places, _) in enumerate(found):
            of_word[places] = number
        ends = np.append(starts[1:], len(of_word))
        long = ends - starts >= REPEATED
        first = np.minimum.reduceat(of_word, starts)
        whole = np.flatnonzero(long & (first >= 0)).tolist()
        sizes = self.words.end[ends - 1] - self.words.start[starts]
        known: dict[bytes, str] = {}
        for clause in whole:
            named = {found[number][1] for number in of_word[starts[clause] : ends[clause]].tolist()}
            if len(named) == 1:
                known[self._bytes(starts[clause], ends[clause])] = named.pop()
        if not known:
            return []
        unseen = long & (np.maximum.reduceat(of_word, starts) < 0)
        unseen &= np.any([sizes == size for size in {len(text) for text in known}], axis=0)
        again = [
            (np.arange(starts[clause], ends[clause]), self._bytes(starts[clause], ends[clause]))
            for clause in np.flatnonzero(unseen).tolist()
        ]
        return [(places, known[text]) for places, text in again if text in known]

    def _bytes(self, first: int, after: int) -> bytes:
        return self.raw[int(self.words.start[first]) : int(self.words.end[after - 1])]

    def _accepted(self, allowed: list[int]) -> tuple[dict[int, list[Places]], list[Foreign]]:
        """Return the stretches of each language that is believed, and weaker ones of others."""
        names, home = states(self.home), self.reading.home
        begins = (self.words.look & BEGINS).astype(np.uint8)
        path = likeliest_path(self.scores, begins, home, np.array([home, *allowed], np.int32))
        counted = self.words.kind != SILENT
        most = int(np.bincount(path[counted]).argmax())
        if most != home:  # it is the home language now that has to come in
            others = [home, *(state for state in allowed if state != most)]
            path = likeliest_path(self.scores, begins, most, np.array([most, *others], np.int32))
        found: dict[int, list[tuple[Places, int, tuple[str, ...]]]] = defaultdict(list)
        for state, places in _same(path, home):
            if names[state] == self.also:
                self.asked[places] = True
                continue
            places = places[counted[places] & (self.words.kind[places] < FOREIGN)]
            if len(places):
                places = places[self._spoken(places, (names[state],))]
            strings = self._folded(places)
            gain = self._gain(places, state, strings) if len(places) else 0
            if most != home and len(places):
                gain = max(gain, 1)  # no doubt of what the rest is in
            if gain > 0 and not self._is_term(places, strings, names[state]):
                found[state].append((places, gain, strings))
        accepted: dict[int, list[Places]] = {}
        rest: list[Foreign] = []
        for state, stretches in found.items():
            times = Counter(strings for _, _, strings in stretches)
            lone = {s for p, _, s in stretches if self._is_function_word(p, s, state)}
            kept = [
                stretch
                for stretch in stretches
                if len(set(stretch[2])) > 1
                or (stretch[2] in lone and len(lone) > 1)
                or self._stands_alone(int(stretch[0][0]), state, times[stretch[2]])
            ]
            # The same words again are no further evidence, but for connectives.
            once = {strings: gain for _, gain, strings in kept if len(strings) > 1}
            ahead = sum(once.values()) + sum(gain for _, gain, s in kept if len(s) == 1)
            if ahead > self.reading.costs[state]:
                accepted[state] = [places for places, _, _ in kept]
            else:
                rest += [(p, names[state]) for p, gain, s in kept if gain > FURTHER and len(s) > 1]
        return accepted, rest

    def _stands_alone(self, place: int, state: int, times: int) -> bool:
        """Is one word enough evidence? A repeated connective is, or any word of another script."""
        if self.words.kind[place] == LATIN_TERM or self.words.units[place] < WORD_UNITS:
            return True
        links = bool(self.words.look[place] & LINKS)
        lead = int(self.scores[place, state]) - int(self.scores[place, self.reading.home])
        return times > 1 and links and lead > LINK_LEAD

    def _is_function_word(self, places: Places, strings: tuple[str, ...], state: int) -> bool:
        """Is it a single function word or connective that is far likelier in another language?"""
        place = int(places[0])
        score, look = int(self.scores[place, state]), self.words.look[place]
        lead = score - int(self.scores[place, self.reading.home])
        used = bool(look & LINKS) or score >= FREQUENT
        return len(set(strings)) == 1 and used and lead > LONE_LEAD

    def _particles(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Mark the particles of names: "Gare du Nord", "de la Vallée Poussin"."""
        found = np.zeros(len(places), bool)
        look, last = self.words.look, len(self.words.look) - 1
        home = self.scores[:, self.reading.home]
        for place in places.tolist():
            small = fold(self._word(place)) in PARTICLES or home[place] >= FREQUENT
            if not look[place] & CAPITAL and not small:
                return found  # a clause with names in it
        for k in range(len(places) - 1, -1, -1):
            place = int(places[k])
            if look[place] & CAPITAL or fold(self._word(place)) not in PARTICLES:
                continue
            named = bool(look[min(place + 1, last)] & CAPITAL)
            follows = k + 1 < len(places) and bool(found[k + 1]) and places[k + 1] == place + 1
            found[k] = named or follows
        return found

    def _gain(self, places: npt.NDArray[np.int64], state: int, strings: tuple[str, ...]) -> int:
        """Return another language's lead over some words, less the cost of entering it.

        One word that happens to be frequent elsewhere is nothing without others.
        """
        scores = self.scores[places].astype(np.int64)
        leads = scores[:, state] - scores[:, self.reading.home]
        if (self.words.kind[places] == OWN).all() and 1 < len(set(strings)) < CLAUSE:
            loudest = strings[int(leads.argmax())]
            others = np.array([word != loudest for word in strings])
            if leads[others].sum() < SECONDED:
                return 0
        return int(leads.sum()) - START_COST

    def _is_term(
        self, places: npt.NDArray[np.int64], strings: tuple[str, ...], language: str
    ) -> bool:
        """Is it a lone short Latin word in a text of another script, such as a command?"""
        if not self.reading.latin or self.words.kind[places[0]] != LATIN_TERM:
            return False
        links = bool(self.words.look[places[0]] & LINKS)
        return len(strings) == 1 and len(strings[0]) < LONE_WORD and language != "en" and not links


def _script_of(letter: str) -> int:
    return int(script_table()[ord(letter)]) if ord(letter) < 0x10000 else SCRIPT["Latin"]


def _runs(
    chosen: npt.NDArray[np.bool_], through: npt.NDArray[np.bool_] | None = None
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield runs of chosen places; places in `through` do not break a run."""
    places = np.flatnonzero(chosen)
    if not len(places):
        return
    if through is None:
        breaks = places[1:] - places[:-1] > 1
    else:
        between = np.cumsum(~chosen & ~through)
        between = between[places]
        breaks = between[1:] > between[:-1]
    begin = 0
    for end in (np.flatnonzero(breaks) + 1).tolist():
        yield places[begin:end]
        begin = end
    yield places[begin:]


def _same(path: npt.NDArray[np.int32], home: int) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield the runs of one state other than `home`."""
    begins = np.append(0, np.flatnonzero(path[1:] != path[:-1]) + 1)
    ends = np.append(begins[1:], len(path))
    for run in np.flatnonzero(path[begins] != home).tolist():
        yield int(path[begins[run]]), np.arange(begins[run], ends[run])
