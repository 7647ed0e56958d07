"""Export a finished corpus as a trainer's files and config, after checking it.

The gate checks a seeded sample of rows before anything is written. Then every row is rendered,
measured and written, batch by batch. The output folder appears complete or not at all.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from jinja2.exceptions import TemplateError

from factory.core.checksums import refuse_damaged
from factory.core.errors import ModelError, RunError
from factory.core.files import atomic_folder
from factory.core.nouns import Message
from factory.core.run_dir import read_manifest
from factory.export.dialogue import COLUMNS, read_dialogue, split_turns
from factory.export.formats import ExportFormat, find_format
from factory.export.gate import Gate, GateError
from factory.export.key_scan import describe_findings, scan_rows
from factory.export.layouts import Layout, LayoutName
from factory.export.target import Target, load_target
from factory.export.trainer_configs import ExportInfo, Settings

BATCH_ROWS = 256
MANIFEST = "export.json"

Overlong = Literal["drop", "fail"]
Turns = Literal["trajectory", "single"]
"""How an episode is written: as one row, or as a row for each turn of the model's own."""
Row = tuple[str, Sequence[Message]]


@dataclass(frozen=True)
class ExportReport:
    """Summary of an export, stored in its folder as export.json."""

    format: str
    layout: LayoutName
    model: str
    template: str | None
    max_length: int
    checked: int  # rows that the gate checked token by token before anything was written
    rows: dict[str, int]  # split → rows written
    overlong: int  # rows left out because they are longer than max_length
    longest: tuple[str, int] | None  # the longest of those: its id and its tokens
    files: list[str]  # relative to the export's folder

    def format_line(self, out: Path) -> str:
        """Summarize the export in one line."""
        rows = ", ".join(f"{count:,} {split} rows" for split, count in self.rows.items())
        left = f"; {self.overlong:,} rows left out, too long" if self.overlong else ""
        return f"{rows} in layout {self.layout}{left}; written to {out}"


@dataclass
class _ExportTally:
    rows: Counter[str] = field(default_factory=Counter)
    files: dict[str, list[str]] = field(default_factory=dict)
    overlong: int = 0
    longest: tuple[str, int] | None = None

    def leave_out(self, row_id: str, tokens: int) -> None:
        self.overlong += 1
        if self.longest is None or tokens > self.longest[1]:
            self.longest = (row_id, tokens)


def export_run(
    run: Path,
    format: str,
    tokenizer: str,
    out: Path,
    *,
    model: str | None = None,
    layout: LayoutName | None = None,
    template: str | None = None,
    eos: str | None = None,
    overlong: Overlong = "fail",
    max_length: int | None = None,
    sample_rows: int = 1000,
    settings: Settings | None = None,
    allow_keys: Collection[str] = (),
    turns: Turns = "trajectory",
) -> ExportReport:
    """Export a run's corpus for a trainer to the folder `out`.

    `tokenizer` is that of the model to train: a folder, a Hub id or `demo`. `model` is the model
    that the config names, if not that of the tokenizer. `settings` go into the config; the default
    is R1's. `allow_keys` are rules of `key_scan` that do not matter here. `turns: single` writes a
    row for each turn of an episode. `format` is a name of
    `factory.export.formats.FORMATS`, an installed exporter's, or `path/to/file.py:Class`.

    Raises GateError where the model would not learn what the rows contain, ModelError for an unfit
    tokenizer, template or length and for what looks like a key, RunError where there is no corpus
    or `out` is no export.
    """
    settings = settings or Settings()
    shards = corpus_shards(run)
    _refuse_to_overwrite(out)
    chosen = find_format(format)
    target = load_target(tokenizer, model=model, template=template, eos=eos, max_length=max_length)
    gate = Gate(target, _choose_layout(chosen, layout, format, shards), chosen.alternating)
    _refuse_keys(shards, allow_keys)
    checked = _check_sample(shards, gate, sample_rows, settings.seed, turns)
    with atomic_folder(out) as scratch:
        tally = _ExportTally()
        for shard in shards:
            _write_shard(shard, gate, chosen, scratch, tally, turns)
        _refuse_overlong(tally, target, overlong)
        name = re.sub(r"\W+", "_", str(read_manifest(run).get("name", run.name)))
        has_tools = getattr(gate.layout, "tools", False)
        info = ExportInfo(name, target, gate.layout.name, tally.files, settings, has_tools)
        for file, text in chosen.configs(info).items():
            (scratch / file).write_text(text, encoding="utf-8")
        if info.tokenizer:
            target.tokenizer.save_pretrained(scratch / info.tokenizer)
        report = ExportReport(
            format=format,
            layout=gate.layout.name,
            model=target.model,
            template=None if target.template is None else target.template.name,
            max_length=target.max_length,
            checked=checked,
            rows=dict(tally.rows),
            overlong=tally.overlong,
            longest=tally.longest,
            files=sorted(
                str(file.relative_to(scratch)) for file in scratch.rglob("*") if file.is_file()
            ),
        )
        (scratch / MANIFEST).write_text(json.dumps(asdict(report), indent=2) + "\n")
    return report


def _choose_layout(
    chosen: ExportFormat, name: LayoutName | None, format: str, shards: Sequence[Path]
) -> Layout:
    """Return the layout; of a corpus with tools, one that holds them."""
    import pyarrow.parquet as pq

    if not any("tools" in pq.read_schema(shard).names for shard in shards):
        return chosen.layout(name, format)
    if not chosen.tools:
        raise ModelError(
            f"the corpus has tool calls, which the export to {format} cannot write yet; export to "
            "trl, verl, axolotl or openai"
        )
    return chosen.layout(name or "messages", format).with_tools()


def _refuse_keys(shards: Sequence[Path], allowed: Collection[str]) -> None:
    found = (finding for shard in shards for finding in scan_rows(shard, shard.name))
    if problem := describe_findings(found, allowed):
        raise ModelError(f"export refused, nothing written: {problem}")


def corpus_shards(run: Path) -> list[Path]:
    """Return a finished run's Parquet shards. Raises RunError where there are none, or damaged."""
    if read_manifest(run).get("state") != "done":
        raise RunError(f"{run} is not finished; complete it with `factory build` first")
    shards = sorted((run / "corpus").glob("*.parquet"))
    if not shards:
        raise RunError(
            f"{run / 'corpus'} holds no row: every sample was dropped. `factory show {run}` shows "
            "which filters dropped them."
        )
    refuse_damaged(shards)
    return shards


def split_of(shard: Path) -> str:
    """Return the split of a shard: `train` for train-00000-of-00003.parquet."""
    return shard.name.split("-", 1)[0]


def _refuse_to_overwrite(out: Path) -> None:
    if out.exists() and not (out / MANIFEST).is_file() and (out.is_file() or any(out.iterdir())):
        raise RunError(f"{out} is not empty and is no export; choose another folder")


def _split(row_id: str, messages: Sequence[Message], turns: Turns) -> list[Row]:
    """Return what is written of a row."""
    if turns == "trajectory":
        return [(row_id, messages)]
    parts = split_turns(messages)
    if len(parts) == 1:
        return [(row_id, parts[0])]
    return [(f"{row_id}.{number}", part) for number, part in enumerate(parts)]


def _read_batches(shard: Path, turns: Turns) -> Iterator[list[Row]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(shard) as file:
        columns = [name for name in COLUMNS if name in file.schema_arrow.names]
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            yield [
                part
                for row in batch.to_pylist()
                for part in _split(row["id"], read_dialogue(row), turns)
            ]


def _sample(shards: Sequence[Path], size: int, seed: int) -> Iterator[Row]:
    """Draw `size` rows from all shards; reads only the row groups that contain one of them."""
    import pyarrow.parquet as pq

    counts = []
    for shard in shards:
        metadata = pq.read_metadata(shard)
        counts += [
            (shard, group, metadata.row_group(group).num_rows)
            for group in range(metadata.num_row_groups)
        ]
    total = sum(rows for _, _, rows in counts)
    drawn = sorted(random.Random(seed).sample(range(total), min(size, total)), reverse=True)
    start = 0
    for shard, group, rows in counts:
        wanted = []
        while drawn and drawn[-1] < start + rows:
            wanted.append(drawn.pop() - start)
        start += rows
        if wanted:
            with pq.ParquetFile(shard) as file:
                columns = [name for name in COLUMNS if name in file.schema_arrow.names]
                table = file.read_row_group(group, columns=columns).take(wanted)
            for row in table.to_pylist():
                yield row["id"], read_dialogue(row)


def _check_sample(shards: Sequence[Path], gate: Gate, size: int, seed: int, turns: Turns) -> int:
    """Check a sample of rows; returns their number. Raises GateError if any row fails."""
    faults, checked = [], 0
    for row_id, messages in _sample(shards, size, seed):
        checked += 1
        found = (gate.check(*part) for part in _split(row_id, messages, turns))
        faults += [fault for fault in found if fault is not None][:1]
    if faults:
        raise GateError(faults, checked)
    return checked


def _write_shard(
    shard: Path,
    gate: Gate,
    chosen: ExportFormat,
    folder: Path,
    tally: _ExportTally,
    turns: Turns,
) -> None:
    split, layout, target = split_of(shard), gate.layout, gate.target
    file = chosen.path.format(split=split, shard=shard.stem)
    files = tally.files.setdefault(split, [])
    if file not in files:
        files.append(file)
    writer = chosen.writer(folder / file, layout)
    try:
        for rows in _read_batches(shard, turns):
            texts = [_render(gate, row_id, messages) for row_id, messages in rows]
            lengths = target.lengths(texts, special_tokens=layout.adds_special_tokens)
            kept: list[dict[str, Any]] = []
            for (row_id, messages), text, tokens in zip(rows, texts, lengths, strict=True):
                fault = gate.check_text(row_id, messages, text)
                if fault is not None:
                    raise GateError([fault], tally.rows.total() + len(kept) + 1)
                if tokens > target.max_length:
                    tally.leave_out(row_id, tokens)
                else:
                    kept.append({"id": row_id, **layout.columns(messages, target)})
            writer.write(kept)
            tally.rows[split] += len(kept)
    finally:
        writer.close()


def _render(gate: Gate, row_id: str, messages: Sequence[Message]) -> str:
    """Render a row. Raises GateError where the chat template fails on it."""
    try:
        return gate.layout.text(messages, gate.target)
    except (TemplateError, TypeError, ValueError):
        fault = gate.check(row_id, messages)
        if fault is None:
            raise
        raise GateError([fault], 1) from None


def _refuse_overlong(tally: _ExportTally, target: Target, overlong: Overlong) -> None:
    if tally.longest is None:
        return
    longest, tokens = tally.longest
    facts = (
        f"{tally.overlong:,} of {tally.overlong + tally.rows.total():,} rows are longer than "
        f"{target.max_length:,} tokens (the longest, {longest}, has {tokens:,})"
    )
    if overlong == "fail":
        raise ModelError(
            f"export refused, nothing written: {facts}. Leave them out with --overlong drop, or "
            "raise --max-length if the model's context allows it."
        )
    if not tally.rows["train"]:
        raise ModelError(f"{facts}: no training row would be left; raise --max-length")
