"""Judge one suspect text: which of its words are foreign, and in which language.

The path (`path`) says where another language is likelier than the home language. What stands there
is checked once more: what is quoted, borrowed or from the question is mentioned, not used.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from filters.language_id.path import likeliest_path
from filters.language_id.reader import FREQUENT, START_COST
from filters.language_id.readings import states
from filters.language_id.scripts import (
    GROUPS,
    SCRIPT,
    SCRIPT_OF_LANGUAGE,
    SCRIPTS,
    UNSPACED,
    fold,
    script_table,
)
from filters.language_id.tables import UNLISTED, lexicon
from filters.language_id.text_words import Places, Stretch, TextWords, Verdict
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
    WORD_UNITS,
)

LINK_LEAD = 24  # eighths of a nat that let a connective change the language by itself
LONE_LEAD = 40  # and that let function words do so where there are several
MAY_ENTER = 16  # languages that are followed at once
QUOTED_TO_SAID, QUOTED_MOST = 2, 12  # more words than that are not quoted to one that is said
CLAUSE = 6  # words; in fewer, one must not speak alone
REPEATED = 3  # words of a clause that is foreign because it was before
FURTHER = SECONDED = 8  # eighths of a nat
SCRIPTS_OF = {"zh": ("Han", "Simplified", "None"), "ja": ("Han", "Kana", "None")}
LONE_WORD = 4  # letters of a Latin word that is foreign by itself where it is not English

GREEK_LOOKALIKES = str.maketrans("αβεικνορτυχγωμ", "abeiknoptuxywu")
_ACCENTED_GREEK = frozenset("άέήίόύώΐΰ")


Foreign = tuple[Places, str]  # words in a row, and their language or script


class Accepted(NamedTuple):
    """What the likeliest path says of the languages on it."""

    stretches: dict[int, list[Places]]  # of each that is believed
    rest: list[Foreign]  # weaker ones of others
    mentioned: set[int]  # without these, their words would be the home language's
    refused: set[int]  # not believed


class Text(TextWords):
    """One text being judged."""

    def verdict(self, shown: Sequence[Foreign] = ()) -> Verdict:
        """Judge the words; those of `shown` are foreign in any case."""
        words = self.words
        worded = words.kind != SILENT
        found = [*self._of_other_scripts(), *self._of_other_languages()]
        foreign = np.zeros(len(worded), bool)
        for places, _ in found:
            foreign[places] = True
        for known, label in shown:
            places = known[worded[known] & ~foreign[known]]
            if len(places):
                found.append((places, label))
                foreign[places] = True
        at_home = worded & ~foreign & ~self.exempt
        at_home &= (words.kind == OWN) | (words.kind == SURE) | self.asked
        names = self._names()
        at_home &= ~names
        home = int(words.units[at_home].sum())
        quoted = self.quoted & worded & ~foreign & ~names
        own = frozenset(SCRIPT[name] for name in SCRIPTS_OF.get(self.home, SCRIPTS))
        stretches = [self._stretch(places, label, own) for places, label in found]
        size = int(words.units[quoted].sum())
        short = size <= QUOTED_MOST * WORD_UNITS
        most = QUOTED_TO_SAID * home if short else home
        if self.answer and short:
            most = size  # an answer may be a title or two
        if size and size + int(words.units[worded & foreign].sum()) > most:
            # Far more is quoted than said: it is no mention any more.
            stretches += [self._stretch(places, "quoted", own) for places in _runs(quoted)]
        return Verdict(home, sorted(stretches))

    def _names(self) -> npt.NDArray[np.bool_]:
        words = self.words
        capital = (words.look & (CAPITAL | BEGINS)) == CAPITAL
        unlisted = (words.row < 0) | (self.reading.own[words.row] <= UNLISTED)
        names: npt.NDArray[np.bool_] = capital & (words.kind == OWN) & unlisted
        return names

    def _stretch(self, places: Places, label: str, own: frozenset[int]) -> Stretch:
        """`own` are the scripts that the home language is written in."""
        words = self.words
        kinds = words.kind[places]
        return Stretch(
            int(words.start[places[0]]),
            int(words.end[places[-1]]),
            label,
            int(words.units[places][kinds != SILENT].sum()),
            bool((kinds == OWN).any()) and own.issuperset(words.script[places].tolist()),
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
                if self._disguised(self.word(place)):
                    yield np.array([place]), "mixed letters"
                else:
                    self.exempt[place] = True
            others = places[kinds[places] == FOREIGN]
            if len(others):
                others = others[self.spoken(others, self._written_in(others))]
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
            text = "".join(self.word(place) for place in places)
            return script if _ACCENTED_GREEK.intersection(text) or len(places) > 2 else None
        if script not in UNSPACED and all(len(self.word(place)) == 1 for place in places.tolist()):
            return None  # the infinite cardinals, the Tate–Shafarevich group, letters as such
        return "Han" if script == "Simplified" else script

    def _written_in(self, places: Places) -> tuple[str, ...]:
        """Return the languages of the first word's script."""
        script = SCRIPTS[int(self.words.script[places[0]])]
        group = next((g for g in GROUPS.values() if script in g), (script,))
        return tuple(name for name, known_by in SCRIPT_OF_LANGUAGE.items() if known_by in group)

    def _asked_for(self, script: str) -> bool:
        """Is it the script of what the question asks for?"""
        asked = {SCRIPT_OF_LANGUAGE[name] for name in self.also if name in SCRIPT_OF_LANGUAGE}
        groups = ("Han" if known_by == "Kana" else known_by for known_by in asked)
        return any(script in GROUPS.get(group, (group,)) for group in groups)

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
        names = states(self.home)
        order = np.argsort(-self.leads)[:MAY_ENTER].tolist()
        allowed = [state for state in order if self.leads[state] > self.reading.costs[state]]
        marks = [mark.copy() for mark in (self.exempt, self.asked, self.quoted)]
        accepted, rest, mentioned, refused = self._accepted(allowed)
        believed = [
            state
            for state in allowed
            if state in accepted or state in mentioned or names[state] in self.also
        ]
        if believed and refused:
            # Without the languages that were not believed, their words may be another one's.
            self.exempt, self.asked, self.quoted = marks
            accepted = self._accepted(believed).stretches
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

    def _accepted(self, allowed: list[int]) -> Accepted:
        """Find the likeliest path through some languages, and say which of them are believed."""
        names, home = states(self.home), self.reading.home
        begins = (self.words.look & BEGINS).astype(np.uint8)
        path = likeliest_path(self.scores, begins, home, np.array([home, *allowed], np.int32))
        counted = self.words.kind != SILENT
        most = int(np.bincount(path[counted]).argmax())
        if most != home:  # it is the home language now that has to come in
            others = [home, *(state for state in allowed if state != most)]
            path = likeliest_path(self.scores, begins, most, np.array([most, *others], np.int32))
        found: dict[int, list[tuple[Places, int, tuple[str, ...]]]] = defaultdict(list)
        mentioned: set[int] = set()
        on_path: set[int] = set()
        for state, places in _same(path, home):
            if names[state] in self.also:
                self.asked[places] = True
                continue
            on_path.add(state)
            places = places[counted[places] & (self.words.kind[places] < FOREIGN)]
            if len(places):
                spoken = self.spoken(places, (names[state],))
                places = places[spoken]
                if not spoken.all():
                    mentioned.add(state)
            strings = self.folded(places)
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
        refused = on_path - accepted.keys() - mentioned
        return Accepted(accepted, rest, mentioned, refused)

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
        score, links = int(self.scores[place, state]), bool(self.words.look[place] & LINKS)
        lead = score - int(self.scores[place, self.reading.home])
        enough = LINK_LEAD if links else LONE_LEAD
        return len(set(strings)) == 1 and (links or score >= FREQUENT) and lead > enough

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
    bounds = [0, *(np.flatnonzero(path[1:] != path[:-1]) + 1).tolist(), len(path)]
    for begin, end in pairwise(bounds):
        state = int(path[begin])
        if state != home:
            yield state, np.arange(begin, end)
