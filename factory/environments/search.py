"""Search over a local corpus: BM25, the same for every episode, without a network."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from factory.environments.tools import ToolEnvironment, ToolError

K1, B = 1.2, 0.75
"""BM25's saturation and length normalization, with the values that Lucene uses."""

SNIPPET = 300
"""Characters of a document that a search shows."""

_WORD = re.compile(r"\w+")


class Document(NamedTuple):
    """One document of a corpus."""

    name: str
    title: str
    text: str


class Index:
    """A BM25 index (Robertson and Zaragoza, 2009) in memory."""

    def __init__(self, documents: list[Document]) -> None:
        self.documents = {document.name: document for document in documents}
        self._names = list(self.documents)
        self._lengths: list[int] = []
        self._postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for place, document in enumerate(self.documents.values()):
            words = tokenize(f"{document.title} {document.text}")
            self._lengths.append(len(words))
            for word, count in Counter(words).items():
                self._postings[word].append((place, count))
        self._mean = sum(self._lengths) / max(1, len(self._lengths)) or 1.0

    def search(self, query: str, limit: int) -> list[tuple[Document, float]]:
        """Return the best documents with their scores. Equal scores are in the corpus's order."""
        scores: dict[int, float] = defaultdict(float)
        for word in dict.fromkeys(tokenize(query)):
            found = self._postings.get(word, ())
            rarity = math.log(1 + (len(self._names) - len(found) + 0.5) / (len(found) + 0.5))
            for place, count in found:
                norm = K1 * (1 - B + B * self._lengths[place] / self._mean)
                scores[place] += rarity * count * (K1 + 1) / (count + norm)
        best = sorted(scores, key=lambda place: (-scores[place], place))[:limit]
        return [(self.documents[self._names[place]], scores[place]) for place in best]


def tokenize(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return _WORD.findall(text.lower())


@cache
def load_index(path: str) -> Index:
    """Read a corpus: JSON lines with `text`, maybe `id` and `title`, or a folder of .txt and .md.

    Raises ValueError that names the file and the line.
    """
    place = Path(path)
    if place.is_dir():
        files = sorted(file for file in place.rglob("*") if file.suffix in (".txt", ".md"))
        documents = [
            Document(str(file.relative_to(place)), file.stem, file.read_text("utf-8", "replace"))
            for file in files
        ]
    elif place.is_file():
        lines = place.read_text(encoding="utf-8").splitlines()
        documents = [_read_line(place, n, line) for n, line in enumerate(lines, 1) if line.strip()]
    else:
        raise ValueError(f"{path}: no such file or folder; `path` names the corpus")
    if not documents:
        raise ValueError(f"{path}: there is no document in it")
    return Index(documents)


def _read_line(file: Path, number: int, line: str) -> Document:
    try:
        row = json.loads(line)
        text = row["text"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}:{number}: no JSON object with `text` ({error!r})") from None
    name = str(row.get("id") or number)
    return Document(name, str(row.get("title") or ""), str(text))


class Search(ToolEnvironment):
    """Offers `search` and `read` over the corpus at `path`: JSON lines, or a folder of texts."""

    def __init__(self, path: str, results: int = 3) -> None:
        self._index, self._results = load_index(path), results

    @classmethod
    def prepare(cls, path: str, results: int = 3) -> None:
        """Read the corpus once for all episodes."""
        load_index(path)

    def search(self, query: str) -> list[dict[str, Any]]:
        """Search the documents. Returns the best ones, each with its id and how it begins.

        query: words to look for
        """
        found = self._index.search(str(query), self._results)
        return [
            {"id": document.name, "title": document.title, "text": document.text[:SNIPPET]}
            for document, _ in found
        ]

    def read(self, id: str) -> str:
        """Return a whole document.

        id: the id of the document, as `search` gives it
        """
        document = self._index.documents.get(str(id))
        if document is None:
            raise ToolError(f"there is no document {id!r}")
        return document.text
