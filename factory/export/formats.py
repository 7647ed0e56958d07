"""The export formats: the files and columns that each trainer reads, and its config.

| format        | files                          | columns                                  |
|---------------|--------------------------------|------------------------------------------|
| trl           | data/SPLIT-*.parquet           | messages, or prompt and completion       |
| verl          | data/SPLIT-*.parquet           | messages                                 |
| llama-factory | SPLIT/*.parquet, dataset_info  | messages (sharegpt, role/content tags)   |
| axolotl       | SPLIT/*.parquet                | messages                                 |
| openai        | SPLIT.jsonl                    | messages                                 |
| nemo-gym      | SPLIT.jsonl                    | responses_create_params, response, reward |
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from factory.core.errors import ModelError
from factory.core.plugins import PluginError, find_class
from factory.export import trainer_configs
from factory.export.layouts import (
    Conversation,
    FinishedText,
    Layout,
    LayoutName,
    PromptCompletion,
)
from factory.export.responses import Rollout
from factory.export.sharegpt import ShareGpt
from factory.export.trainer_configs import ExportInfo

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
            line = {key: value for key, value in row.items() if key != "id" and value is not None}
            if "tools" in line:
                line["tools"] = json.loads(line["tools"])
            self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._stream.close()


class ExportFormat:
    """One trainer's form of the corpus. A subclass sets these and gives `configs`.

    `layouts` are the ways of writing a row down that the trainer reads, its default first. `path`
    is where a shard goes in the export; {split} and {shard} are filled in. `alternating`: the
    trainer refuses a conversation whose turns do not alternate. `tools`: it reads tool calls.
    """

    layouts: ClassVar[Mapping[LayoutName, Layout]]
    path: ClassVar[str]
    alternating: ClassVar[bool] = False
    tools: ClassVar[bool] = False

    def configs(self, info: ExportInfo) -> dict[str, str]:
        """The trainer's own files next to the data: name → text."""
        raise NotImplementedError

    def writer(self, path: Path, layout: Layout) -> Writer:
        """Opens the file of one shard."""
        return ParquetWriter(path, layout)

    def layout(self, name: LayoutName | None, format_name: str) -> Layout:
        """Return the named layout, or the default. Raises ModelError if the trainer lacks it."""
        if name is None:
            return next(iter(self.layouts.values()))
        if name not in self.layouts:
            known = ", ".join(self.layouts)
            raise ModelError(f"{format_name} does not read --layout {name}; it reads {known}")
        return self.layouts[name]


class Trl(ExportFormat):
    layouts: ClassVar[Mapping[LayoutName, Layout]] = {
        "prompt-completion": PromptCompletion(),
        "messages": Conversation(marked=True),
        "text": FinishedText(),
    }
    path = "data/{shard}.parquet"
    tools = True

    def configs(self, info: ExportInfo) -> dict[str, str]:
        return trainer_configs.trl(info)


class Verl(ExportFormat):
    layouts: ClassVar[Mapping[LayoutName, Layout]] = {"messages": Conversation(marked=False)}
    path = "data/{shard}.parquet"
    tools = True

    def configs(self, info: ExportInfo) -> dict[str, str]:
        return trainer_configs.verl(info)


class LlamaFactory(ExportFormat):
    layouts: ClassVar[Mapping[LayoutName, Layout]] = {"messages": ShareGpt(marked=False)}
    path = "{split}/{shard}.parquet"
    alternating = True
    tools = True

    def configs(self, info: ExportInfo) -> dict[str, str]:
        return trainer_configs.llama_factory(info)


class Axolotl(ExportFormat):
    layouts: ClassVar[Mapping[LayoutName, Layout]] = {"messages": Conversation(marked=False)}
    path = "{split}/{shard}.parquet"
    tools = True

    def configs(self, info: ExportInfo) -> dict[str, str]:
        return trainer_configs.axolotl(info)


class OpenAI(ExportFormat):
    layouts: ClassVar[Mapping[LayoutName, Layout]] = {"messages": Conversation(marked=False)}
    path = "{split}.jsonl"
    tools = True

    def configs(self, info: ExportInfo) -> dict[str, str]:
        return trainer_configs.openai(info)

    def writer(self, path: Path, layout: Layout) -> Writer:
        return JsonLinesWriter(path, layout)


class NemoGym(ExportFormat):
    layouts: ClassVar[Mapping[LayoutName, Layout]] = {"messages": Rollout(marked=False)}
    path = "{split}.jsonl"
    tools = True

    def configs(self, info: ExportInfo) -> dict[str, str]:
        return {}

    def writer(self, path: Path, layout: Layout) -> Writer:
        return JsonLinesWriter(path, layout)


FORMATS = {
    "trl": "factory.export.formats:Trl",
    "verl": "factory.export.formats:Verl",
    "llama-factory": "factory.export.formats:LlamaFactory",
    "axolotl": "factory.export.formats:Axolotl",
    "openai": "factory.export.formats:OpenAI",
    "nemo-gym": "factory.export.formats:NemoGym",
}
"""Name of a format → its class."""

GROUP = "factory.exporters"
"""Installed packages add formats as entry points of this group."""


def find_format(name: str) -> ExportFormat:
    """The format of a name, an entry point's, or `path/to/file.py:Class`.

    Raises ModelError, naming those there are.
    """
    try:
        return find_class(FORMATS, name, ExportFormat, GROUP)()
    except PluginError as error:
        raise ModelError(f"--format {name}: {error}") from error
