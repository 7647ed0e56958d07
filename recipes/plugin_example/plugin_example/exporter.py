"""An exporter: Alpaca's three keys, as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from factory.export.formats import ExportFormat, Row, Writer
from factory.export.layouts import Conversation, Layout, LayoutName
from factory.export.trainer_configs import ExportInfo


class Alpaca(ExportFormat):
    """One file for each split: instruction, input and output."""

    layouts: ClassVar[Mapping[LayoutName, Layout]] = {"messages": Conversation(marked=False)}
    path = "{split}.jsonl"  # a later shard of the same split comes to the same file
    alternating = True  # the trainer knows one question and one answer

    def configs(self, info: ExportInfo) -> dict[str, str]:
        """The files next to the data: name → text."""
        listing = {split: list(files) for split, files in info.files.items()}
        return {"dataset.json": json.dumps({"name": info.name, "files": listing}, indent=2) + "\n"}

    def writer(self, path: Path, layout: Layout) -> Writer:
        """Opens the file of one shard."""
        return AlpacaWriter(path)


class AlpacaWriter:
    """Appends rows to one file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = open(path, "a", encoding="utf-8")  # noqa: SIM115 (held until close)

    def write(self, rows: Sequence[Row]) -> None:
        """Rows hold an id and the layout's columns, here `messages`."""
        for row in rows:
            *before, answer = row["messages"]
            line = {
                "instruction": before[-1]["content"],
                "input": "",
                "output": answer["content"],
            }
            self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._stream.close()
