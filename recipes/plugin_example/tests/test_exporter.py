"""Two rows through the writer."""

from __future__ import annotations

import json
from pathlib import Path

from plugin_example.exporter import Alpaca


def test_rows_become_lines(tmp_path: Path) -> None:
    chosen = Alpaca()
    file = tmp_path / chosen.path.format(split="train", shard="train-00000-of-00001")
    for number in range(2):
        writer = chosen.writer(file, chosen.layouts["messages"])
        turns = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": f"{number}"}]
        writer.write([{"id": f"x-{number}", "messages": turns}])
        writer.close()
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line["output"] for line in lines] == ["0", "1"]
    assert lines[0]["instruction"] == "1+1?"
