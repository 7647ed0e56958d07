"""The page says how far plans are from published runs; the benchmark computes the same."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_page_shows_what_the_benchmark_computes() -> None:
    rows = runpy.run_path(str(ROOT / "benchmarks" / "plan.py"))["rows"]()
    found = {row.name: row for row in rows}
    page = (ROOT / "docs" / "how-to" / "plan-a-recipe.md").read_text(encoding="utf-8")
    close = {name for name, row in found.items() if row.holds}
    assert len(found) == 10
    assert len(close) == 6, "the page says six of ten"
    assert {"r1_zero", "r1_sft_data"} <= close
    table = page.partition("| published | planned / published |")[2].partition("\n\n")[0]
    cells = [line.rpartition(" | ")[2] for line in table.splitlines()]
    shown = [number for cell in cells for number in re.findall(r"\d+\.\d+", cell)]
    assert len(shown) == len(found)
    for row in found.values():
        assert {f"{row.ratio:.1f}", f"{row.ratio:.2f}"} & set(shown), row
