"""Build and cache the lexicon: scores of words and of letter trigrams in each language.

A word of a language's list is as likely there as it is frequent. Any other is as likely as its
letters, of which each follows the two before it, and less likely than every listed one. Both are in
eighths of a nat above the rarest, so that they fit a byte.

The tables are built once, in some seconds, and kept in the user's cache.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from factory.core.checksums import check, digest, digest_path
from factory.core.errors import StorageError
from factory.core.files import write_atomic
from factory.core.resources import cache_dir
from filters.kernels import compiled, step
from filters.language_id.scripts import GROUPS, SCRIPTS, fold, script_table
from filters.language_id.word_lists import frequencies, languages_of

TABLES = 10
"""Raised whenever the tables come out otherwise from the same lists."""

EIGHTHS = 8  # to a nat
RAREST = -17.0  # the log-probability that a zero stands for
UNLISTED = 20  # a word of no list is as likely as this in the language whose letters it has
BY_LETTERS = 0.5  # how far letters are believed: those of a word hang together
_SMOOTHING = 2.0

HASH_START, HASH_PRIME = 0x4BF29CE484222325, 0x100000001B3
GRAM_PRIME, GRAM_BITS = 0x1E3779B97F4A7C15, 17

LANGUAGES = {group: tuple(languages_of(group)) for group in GROUPS}
WIDTH = max(map(len, LANGUAGES.values()))

Scores = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int32]
Hashes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Lexicon:
    """Scores of words and of letter trigrams. A column is a language of its group."""

    keys: Hashes  # open addressing: the hash of a word, 0 where free
    rows: Places  # the row of each key in `words`
    words: Scores  # how likely a word is in each language
    begins: Hashes  # the first row of each group, and the end
    grams: Scores  # how likely three letters are, a row a slot
    gram_keys: npt.NDArray[np.uint16]  # what tells two grams of a slot apart; 0: none

    def row(self, word: str) -> int:
        """Return the row of a word in `words`, or -1."""
        # As Python: compiling takes 0.3 s, and few words are looked up here.
        return int(look_up(self.keys, self.rows, word_hash(word)))


def word_hash(word: str) -> int:
    """Return the FNV-1a hash of a folded word, as a signed 64-bit integer."""
    value = HASH_START
    for letter in fold(word):
        value = ((value ^ ord(letter)) * HASH_PRIME) % 2**64
    return value - 2**64 if value >= 2**63 else value


def look_up(keys: Hashes, rows: Places, value: int) -> int:
    """Return the row of a hash, or -1."""
    slots = len(keys) - 1
    slot = (value ^ (value >> 29)) & slots
    while keys[slot] != 0:
        if keys[slot] == value:
            return int(rows[slot])
        slot = (slot + 1) & slots
    return -1


find = step(look_up)


@step
def gram_slot(window: int) -> tuple[int, int]:
    """Return the slot and the check value of three letters (16 bits each)."""
    mixed = window * GRAM_PRIME
    return (mixed >> 40) & ((1 << GRAM_BITS) - 1), ((mixed >> 24) & 0xFFFF) | 1


@compiled
def _hashes(codes: Hashes, ends: Hashes) -> Hashes:
    """Hash each word of a concatenation."""
    found = np.empty(len(ends), np.int64)
    begin = 0
    for i in range(len(ends)):
        value = HASH_START
        for k in range(begin, ends[i]):
            value = (value ^ codes[k]) * HASH_PRIME
        found[i] = value
        begin = ends[i]
    return found


@compiled
def _keyed(hashes: Hashes, bits: int) -> tuple[Hashes, Places]:
    """Build an open-addressed hash table."""
    keys, rows = np.zeros(1 << bits, np.int64), np.zeros(1 << bits, np.int32)
    mask = (1 << bits) - 1
    for row in range(len(hashes)):
        value = hashes[row]
        slot = (value ^ (value >> 29)) & mask
        while keys[slot] != 0 and keys[slot] != value:
            slot = (slot + 1) & mask
        keys[slot] = value
        rows[slot] = row
    return keys, rows


@compiled
def _by_letters(
    codes: npt.NDArray[np.uint32],
    ends: Hashes,
    grams: Scores,
    gram_keys: npt.NDArray[np.uint16],
    columns: int,
) -> npt.NDArray[np.int32]:
    """Sum the trigram scores of each word in each language."""
    found = np.zeros((len(ends), columns), np.int32)
    begin = 0
    for i in range(len(ends)):
        window = np.int64(ord(" "))
        for k in range(begin, ends[i] + 1):
            code = np.int64(codes[k]) if k < ends[i] else np.int64(ord(" "))
            window = (window << 16 | code) & 0xFFFFFFFFFFFF
            if window > 0xFFFFFFFF:
                slot, key = gram_slot(int(window))
                if gram_keys[slot] == key:
                    for column in range(columns):
                        found[i, column] += grams[slot, column]
        begin = ends[i]
    return found


def _joined(words: list[str]) -> tuple[npt.NDArray[np.uint32], Hashes]:
    """Concatenate words as code points. Return them and the end of each word."""
    codes = np.frombuffer("".join(words).encode("utf-32-le"), np.uint32)
    return codes, np.cumsum([len(word) for word in words], dtype=np.int64)


def _gram_scores(
    words: list[str], shares: npt.NDArray[np.float64]
) -> tuple[Hashes, npt.NDArray[np.float64]]:
    """Return the trigrams of the words, and log P(third | first two) in each language."""
    codes, ends = _joined([f" {word} " for word in words])
    letters = codes.astype(np.int64)
    inside = np.ones(len(letters) - 2, bool)
    inside[ends[:-1] - 1] = inside[ends[:-1] - 2] = False
    windows = (letters[:-2] << 32 | letters[1:-1] << 16 | letters[2:])[inside]
    lengths = np.diff(ends, prepend=0) - 2
    grams, which = np.unique(windows, return_inverse=True)
    befores, befores_of = np.unique(grams >> 16, return_inverse=True)
    lasts, lasts_of = np.unique(grams & 0xFFFF, return_inverse=True)
    logs = np.empty((len(grams), shares.shape[1]))
    for column in range(shares.shape[1]):
        weights = np.sqrt(shares[:, column])  # a word ten times as frequent is no such witness
        weights *= len(words) / max(weights.sum(), 1e-12)
        counts = np.bincount(which, np.repeat(weights, lengths), len(grams))
        before = np.bincount(befores_of, counts, len(befores))
        last = np.bincount(lasts_of, counts, len(lasts)) + 0.1
        last /= last.sum()
        likely = (counts + _SMOOTHING * last[lasts_of]) / (before[befores_of] + _SMOOTHING)
        logs[:, column] = np.log(likely)
    return grams, logs


def _slots_of(windows: npt.NDArray[np.int64]) -> tuple[Places, npt.NDArray[np.uint16]]:
    """`gram_slot` of many."""
    mixed = windows.astype(np.uint64) * np.uint64(GRAM_PRIME)
    slots = mixed >> np.uint64(40) & np.uint64((1 << GRAM_BITS) - 1)
    keys = mixed >> np.uint64(24) & np.uint64(0xFFFF) | np.uint64(1)
    return slots.astype(np.int32), keys.astype(np.uint16)


def _script(word: str) -> str:
    """Return the script of a word's first letter."""
    code = ord(word[0])
    return SCRIPTS[script_table()[code]] if code < 0x10000 else "None"


def _shares(
    languages: Sequence[str], scripts: Sequence[str]
) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Return the folded words of some languages, and the share of each word in each language.

    A list made from the web has words in other scripts too: English ones in the Arabic list.
    """
    lists = []
    for name in languages:
        listed: dict[str, float] = {}
        for word, share in frequencies(name).items():
            folded = fold(word)
            if folded and _script(folded) in scripts:
                listed[folded] = max(listed.get(folded, 0.0), share)
        lists.append(listed)
    words = sorted(set().union(*lists))
    index = {word: number for number, word in enumerate(words)}
    shares = np.zeros((len(words), len(lists)))
    for column, listed in enumerate(lists):
        shares[[index[word] for word in listed], column] = list(listed.values())
    return words, shares


GRAM_FLOOR = -12.0  # of a log-probability of letters; a zero is as unlikely


def build() -> Lexicon:
    """Build the tables from the lists, in about ten seconds."""
    grams = np.zeros((1 << GRAM_BITS, WIDTH), np.uint8)
    gram_keys = np.zeros(1 << GRAM_BITS, np.uint16)
    all_hashes, all_words, begins = [], [], [0]
    for group, languages in LANGUAGES.items():
        words, shares = _shares(languages, GROUPS[group])
        scores = np.zeros((len(words), WIDTH))
        if group != "Han":
            windows, logs = _gram_scores(words, shares)
            slots, checks = _slots_of(windows)
            grams[slots] = 0
            gram_keys[slots] = checks
            grams[slots, : len(languages)] = np.rint(
                EIGHTHS * (np.maximum(logs, GRAM_FLOOR) - GRAM_FLOOR)
            )
            codes, ends = _joined(words)
            sums = _by_letters(codes, ends, grams, gram_keys, len(languages))
            behind = BY_LETTERS * (sums - sums.max(axis=1, keepdims=True))
            scores[:, : len(languages)] = np.maximum(UNLISTED + behind, 0)
        with np.errstate(divide="ignore"):
            frequent = EIGHTHS * (np.log(shares) - RAREST)
        own = scores[:, : len(languages)]
        np.copyto(own, np.clip(frequent, UNLISTED + 1, 127), where=shares > 0)
        codes, ends = _joined(words)
        all_hashes.append(_hashes(codes.astype(np.int64), ends))
        all_words.append(np.rint(scores).astype(np.uint8))
        begins.append(begins[-1] + len(words))
    hashes = np.concatenate(all_hashes)
    keys, rows = _keyed(hashes, int(2 * len(hashes)).bit_length())
    return Lexicon(keys, rows, np.concatenate(all_words), np.array(begins), grams, gram_keys)


def _kept_at() -> Path:
    names = f"{TABLES}-{version('wordfreq')}"
    return cache_dir() / f"lexicon-{names}.tables"


@cache
def lexicon() -> Lexicon:
    """Return the tables of the cache, or build them and store them there.

    They are mapped: the processes of a machine have them in memory once.
    """
    path = _kept_at()
    with contextlib.suppress(OSError, ValueError):
        if check(path) == "sound":
            return _map(path)
    built = build()
    with contextlib.suppress(OSError, StorageError):  # a read-only home: each process builds them
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            for table in vars(built).values():
                np.save(file, table)
        write_atomic(digest_path(path), digest(Path(name)))
        Path(name).replace(path)
    return built


def _map(path: Path) -> Lexicon:
    """Map the tables of a file: NumPy's own format, one after the other."""
    tables = []
    with open(path, "rb") as file:
        for _ in fields(Lexicon):
            np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
            header = np.lib.format.read_array_header_1_0(file)  # type: ignore[no-untyped-call]
            shape, _, kind = header
            # Compiled code is kept for arrays that may be written, so the pages are copied on
            # write; nothing writes them.
            start = file.tell()
            table = np.memmap(file, kind, "c", start, shape).view(np.ndarray)
            file.seek(start + table.nbytes)
            tables.append(table)
    return Lexicon(*tables)
