"""The export formats: the files and columns that each trainer reads, and its config.

| format        | files                          | columns                                  |
|---------------|--------------------------------|------------------------------------------|
| trl           | data/SPLIT-*.parquet           | messages, or prompt and completion       |
| verl          | data/SPLIT-*.parquet           | messages                                 |
| llama-factory | SPLIT/*.parquet, dataset_info  | messages (sharegpt, role/content tags)   |
| axolotl       | SPLIT/*.parquet                | messages                                 |
| openai        | SPLIT.jsonl                    | messages                                 |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from factory.core.errors import ModelError
from factory.export import trainer_configs
from factory.export.layouts import (
    Conversation,
    FinishedText,
    Layout,
    LayoutName,
    PromptCompletion,
)
from factory.export.trainer_configs import ExportInfo

FormatName = Literal["trl", "verl", "llama-factory", "axolotl", "openai"]

Row = Mapping[str, Any]


class Writer(Protocol):
    """Writes rows in batches."""

    def write(self, rows: Sequence[Row]) -> None: ...

    def close(self) -> None: ...


class ParquetWriter:
    """Writes one Parquet file with a layout's columns."""

    def __init__(self, path: Path, layout: Layout) -> None:
        import pyarrow.parquet as pq

        path.parent.mkdir(parents=True, exist_ok=True)
        self._schema = layout.schema()
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, rows: Sequence[Row]) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_pylist(list(rows), schema=self._schema))

    def close(self) -> None:
        self._writer.close()


class JsonLinesWriter:
    """Writes a file of JSON lines. OpenAI reads one file per split, so further shards append."""

    def __init__(self, path: Path, layout: Layout) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = open(path, "a", encoding="utf-8")  # noqa: SIM115 (held until close)

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            # The API rejects unknown keys, `id` among them.
            line = {key: value for key, value in row.items() if key != "id"}
            self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._stream.close()


@dataclass(frozen=True)
class ExportFormat:
    """How a corpus is written for one trainer. `alternating`: see `Gate`."""

    layouts: Mapping[LayoutName, Layout]  # the first is the default
    path: str  # of a shard's file, with placeholders {split} and {shard}
    configs: Callable[[ExportInfo], dict[str, str]]  # file name → text
    writer: Callable[[Path, Layout], Writer] = ParquetWriter
    alternating: bool = field(default=False, kw_only=True)

    def layout(self, name: LayoutName | None, format_name: str) -> Layout:
        """Return the named layout, or the default. Raises ModelError if the trainer lacks it."""
        if name is None:
            return next(iter(self.layouts.values()))
        if name not in self.layouts:
            known = ", ".join(self.layouts)
            raise ModelError(f"{format_name} does not read --layout {name}; it reads {known}")
        return self.layouts[name]


_MESSAGES: Mapping[LayoutName, Layout] = {"messages": Conversation(marked=False)}

FORMATS: Mapping[FormatName, ExportFormat] = {
    "trl": ExportFormat(
        {
            "prompt-completion": PromptCompletion(),
            "messages": Conversation(marked=True),
            "text": FinishedText(),
        },
        "data/{shard}.parquet",
        trainer_configs.trl,
    ),
    "verl": ExportFormat(_MESSAGES, "data/{shard}.parquet", trainer_configs.verl),
    "llama-factory": ExportFormat(
        _MESSAGES, "{split}/{shard}.parquet", trainer_configs.llama_factory, alternating=True
    ),
    "axolotl": ExportFormat(_MESSAGES, "{split}/{shard}.parquet", trainer_configs.axolotl),
    "openai": ExportFormat(_MESSAGES, "{split}.jsonl", trainer_configs.openai, JsonLinesWriter),
}
