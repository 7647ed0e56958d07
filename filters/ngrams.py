"""Overlap of texts with evaluation sets, by word n-grams as sorted 64-bit hashes.

An index does not contain the evaluation text, so it can be shipped. Since many hits are false
positives, each hit reports the matching words and the set.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factory.core.errors import SourceError

NGRAM = 10
BATCH = 4096  # texts normalised and hashed at a time
VERSION = 2  # of `normalize` and the hashes: an index of another version is refused

_GROUPS = re.compile(r"\\(?:begin|end)\s*\{[^{}]{0,40}\}")
_STYLES = re.compile(
    r"\\(?:left|right|[bB]igg?[lr]?|limits|displaystyle|textstyle|q?quad|ensuremath"
    r"|text(?:bf|it|rm|sf|tt)?|math(?:rm|bf|it|sf|tt|cal|bb|frak)|operatorname|mbox|boldsymbol"
    r"|cdot|times|div|pm|mp|leq?(?:slant)?|geq?(?:slant)?|neq?|lt|gt|in|to|circ|degree"
    r"|(?:right|left|Right)arrow|[cl]?dots)(?![a-zA-Z])"
)
_VARIANTS = re.compile(r"\\(?:var|[dtc](?=frac(?![a-zA-Z])))")  # \varepsilon, \dfrac
_TOKENS = re.compile(r"[^\W\d_]+|\d+")
_SPLIT_NUMBERS = re.compile(r"(?<=\d) (?=\d)")
_SPLIT_LETTERS = re.compile(r"(?<![^ ])([a-z]) (?=[a-z](?: |$))")
_SYMBOLS = str.maketrans({"√": " sqrt ", "∑": " sum ", "∏": " prod ", "∫": " int ", "∞": " infty "})


def _greek() -> dict[int, str]:
    """Return Greek letters → their names in LaTeX: π is pi."""
    names = {}
    for code in range(0x391, 0x3CA):
        name = unicodedata.name(chr(code), "").split()
        if len(name) == 4 and name[1] in ("SMALL", "CAPITAL"):
            names[code] = f" {name[3].lower().replace('lamda', 'lambda')} "
    return names


_GREEK = _greek()


def normalize(text: str) -> str:
    """Return the words and numbers of a text, independent of typesetting.

    Symbols, LaTeX spacing and styles are removed. Runs of numbers and of single letters are joined.
    So `x y`, `xy` and `x\\,y` become equal, and `\\frac12`, `\\frac{1}{2}` and `\\dfrac{1} {2}`.

    >>> normalize(r"Find $\\dfrac{1}{2}\\,x y$ for 1{,}000")
    'find frac 12 xy for 1000'
    """
    text = _GROUPS.sub(" ", text)
    text = _VARIANTS.sub(r"\\", _STYLES.sub(" ", text))
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_SYMBOLS)).casefold().translate(_GREEK)
    words = " ".join(_TOKENS.findall(text.casefold()))
    return _SPLIT_LETTERS.sub(r"\1", _SPLIT_NUMBERS.sub("", words))


@dataclass(frozen=True)
class Index:
    """The n-grams of evaluation sets: sorted hashes, and the set of each.

    A text of fewer than `n` words is one entry. It matches only a prompt with exactly these words.
    """

    n: int
    names: tuple[str, ...]
    hashes: NDArray[np.uint64]
    owners: NDArray[np.uint16]  # index into `names`

    @classmethod
    def build(
        cls, sets: Mapping[str, Iterable[str]], n: int = NGRAM, *, boilerplate: int | None = None
    ) -> Index:
        """Index the texts of each named set.

        `boilerplate`: n-grams in more than this number of different texts of a set are left out,
        since they identify none of them ("find the number of ordered pairs of positive integers").
        """
        parts = [_distinct_ngrams(texts, n, boilerplate) for texts in sets.values()]
        hashes = np.concatenate([*parts, np.empty(0, np.uint64)])
        owners = np.repeat(np.arange(len(parts), dtype=np.uint16), [len(part) for part in parts])
        order = np.argsort(hashes, kind="stable")
        return cls(n, tuple(sets), hashes[order], owners[order])

    @classmethod
    def merge(cls, indexes: Iterable[Index]) -> Index:
        """Merge several indexes with the same `n`. Raises SourceError if `n` differs."""
        given = list(indexes)
        sizes = {index.n for index in given}
        if len(sizes) != 1:
            raise SourceError(
                f"evaluation hashes with different n-gram sizes {sorted(sizes)} cannot be "
                "used together; create them again with one size"
            )
        names = tuple(dict.fromkeys(name for index in given for name in index.names))
        hashes = np.concatenate([index.hashes for index in given])
        owners = np.concatenate(
            [
                np.array([names.index(name) for name in index.names], np.uint16)[index.owners]
                for index in given
            ]
        )
        order = np.argsort(hashes, kind="stable")
        return cls(sizes.pop(), names, hashes[order], owners[order])

    def save(self, file: Path | IO[bytes]) -> None:
        """Write the hashes as an .npz file. It does not contain the texts."""
        np.savez_compressed(
            file,
            version=np.array(VERSION),
            n=np.array(self.n),
            names=np.array(self.names, np.str_),
            hashes=self.hashes,
            owners=self.owners,
        )

    @classmethod
    def load(cls, path: Path) -> Index:
        """Read a file written by `save`. Raises SourceError if it is unreadable."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                if int(stored["version"]) != VERSION:
                    raise SourceError(
                        f"{path}: hashes of version {stored['version']}, expected {VERSION}; "
                        "create them again from the evaluation set"
                    )
                names = tuple(str(name) for name in stored["names"])
                return cls(int(stored["n"]), names, stored["hashes"], stored["owners"])
        except (OSError, ValueError, KeyError) as error:
            raise SourceError(f"{path}: not a file of evaluation hashes ({error})") from error

    def find(self, texts: pl.Series) -> pl.DataFrame:
        """Return the overlap of each text with the sets, one row per text.

        Columns: `share` of its n-grams that match (0 to 1), the `set` with most matches, and
        `matched`, the longest run of matching words. `set` and `matched` are null without a match.
        """
        found_in: list[tuple[float, str | None, str | None]] = []
        for start in range(0, len(texts), BATCH):
            normal = _normalize_all(texts[start : start + BATCH])
            hashes, bounds = _shingles(normal, self.n)
            found = np.searchsorted(self.hashes, hashes)
            found[found == self.hashes.size] = 0
            hit = (self.hashes[found] == hashes) if self.hashes.size else np.zeros(0, np.bool_)
            for row, text in enumerate(normal):
                low, high = int(bounds[row]), int(bounds[row + 1])
                here = hit[low:high]
                if not text or not here.any():
                    found_in.append((0.0, None, None))
                    continue
                name = self.names[self._owner(hashes[low:high][here])]
                found_in.append((float(here.mean()), name, _longest_run(text, here, self.n)))
        schema = {"share": pl.Float64, "set": pl.String, "matched": pl.String}
        return pl.DataFrame(found_in, schema=schema, orient="row")

    def _owner(self, hashes: NDArray[np.uint64]) -> int:
        """Return the set with most of the hashes."""
        low = np.searchsorted(self.hashes, hashes, side="left")
        high = np.searchsorted(self.hashes, hashes, side="right")
        owners = [self.owners[start:stop] for start, stop in zip(low, high, strict=True)]
        return int(np.bincount(np.concatenate(owners)).argmax())


def _normalize_all(texts: Iterable[str | None]) -> pl.Series:
    return pl.Series([normalize(text or "") for text in texts], dtype=pl.String)


def _distinct_ngrams(texts: Iterable[str], n: int, boilerplate: int | None) -> NDArray[np.uint64]:
    """Return the distinct n-grams of one set."""
    collected: list[NDArray[np.uint64]] = []
    seen: set[int] = set()
    for batch in _batches(texts):
        normal = _normalize_all(batch).unique(maintain_order=True)
        keys = normal.hash().to_list()
        fresh = pl.Series([key not in seen for key in keys], dtype=pl.Boolean) & (normal != "")
        seen.update(keys)
        normal = normal.filter(fresh)
        hashes, bounds = _shingles(normal, n)
        collected += [
            np.unique(hashes[bounds[row] : bounds[row + 1]]) for row in range(len(normal))
        ]
    if not collected:
        return np.empty(0, np.uint64)
    distinct, texts_with = np.unique(np.concatenate(collected), return_counts=True)
    return distinct if boilerplate is None else distinct[texts_with <= boilerplate]


def _shingles(texts: pl.Series, n: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the n-gram hashes of all texts, concatenated, and the offsets of each text's."""
    # Compiled code takes most of a second to import: import it only to measure.
    from filters.kernels import character_classes, shingle_hashes, utf8

    return shingle_hashes(*utf8(texts), character_classes(), n)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(texts)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _longest_run(text: str, hit: NDArray[np.bool_], n: int) -> str:
    """Return the longest run of words covered by consecutive matching n-grams."""
    from filters.kernels import character_classes, token_hashes

    data = text.encode()
    _, starts = token_hashes(np.frombuffer(data, np.uint8), character_classes())
    best = length = 0
    end = 0
    for k, is_hit in enumerate(hit.tolist()):
        length = length + 1 if is_hit else 0
        if length > best:
            best, end = length, k + 1
    last = min(end - 1 + n, len(starts) - 1)
    return data[starts[end - best] : starts[last]].decode().strip()
