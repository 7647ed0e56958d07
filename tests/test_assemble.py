"""Assembly: which rows of each run are used, what is refused, and reproducible bytes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

from factory.core.checksums import check
from factory.core.errors import QuotaError, RecipeError, RunError
from factory.corpus import shards
from factory.corpus.assembly.assemble import build_assembly
from factory.corpus.assembly.statistics import (
    AssemblyReport,
    list_notes,
    load_report,
    print_assembly,
)
from factory.corpus.rows import corpus_schema
from factory.judging.funnel import load_funnel
from factory.recipe.assembly import Assembly, load_assembly, load_build
from tests.corpora import corpus, row, run, table

QUIET = Console(quiet=True)


def recipe(folder: Path, runs: Sequence[Mapping[str, Any]], **keys: Any) -> Assembly:
    document = {"kind": "assembly", "name": "mix", "runs": list(runs), **keys}
    file = folder / "corpus.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(document))
    return load_assembly(file)


def assemble(
    folder: Path, rows: Mapping[str, list[dict[str, Any]]], **keys: Any
) -> tuple[AssemblyReport, pl.DataFrame]:
    """Assemble corpora of these rows, by name. Returns the report and the rows."""
    runs = [{"path": str(corpus(folder / name, some))} for name, some in rows.items()]
    report = build_assembly(recipe(folder, runs, **keys), folder / "out", QUIET)
    return report, pl.read_parquet(folder / "out" / "corpus" / "*.parquet")


def digest(out: Path) -> str:
    files = sorted((out / "corpus").iterdir())
    assert files
    return hashlib.sha256(b"".join(f.name.encode() + f.read_bytes() for f in files)).hexdigest()


def left_out(report: AssemblyReport) -> dict[str, int]:
    return {step.name: step.left_out.samples for step in report.steps}


MATHS = [row(f"m{n}", i) for n in range(30) for i in range(2)]
CODE = [row(f"c{n}", domain="code", source="kata", license=None, answer=None) for n in range(9)]
CHAT = [row(f"g{n}", domain="general", question=f"Hi {n}|And {n}?") for n in range(5)]


def test_rows_come_through_as_they_were(tmp_path: Path) -> None:
    report, rows = assemble(tmp_path, {"a": MATHS, "b": CODE + CHAT})
    assert report.rows.samples == rows.height == 74
    assert report.runs == {"a": 60, "b": 14}
    assert pq.read_schema(next((tmp_path / "out" / "corpus").iterdir())).equals(corpus_schema())
    before = pl.DataFrame(table(MATHS + CODE + CHAT)).sort("id")
    assert rows.sort("id").equals(before)
    assert rows["id"].to_list() != before["id"].to_list()


def test_statistics_stand_beside_the_papers(tmp_path: Path) -> None:
    report, _ = assemble(tmp_path, {"a": MATHS, "b": CODE + CHAT})
    math, general, total = (report.domains[name] for name in ("math", "general", "total"))
    assert (math.samples, math.rounds, math.tokens) == (60, 1.0, 10.5)
    assert (general.samples, general.rounds) == (5, 2.0)
    assert (total.samples, list(report.domains)) == (74, ["math", "code", "general", "total"])
    written = json.loads((tmp_path / "out" / "statistics.json").read_text())
    assert written["paper"]["math"] == {"samples": 395285, "rounds": 1.0, "tokens": 6094.2}
    console = Console(record=True, width=120, file=open(os.devnull, "w"))  # noqa: SIM115
    print_assembly(report, console)
    console.file.close()
    assert "395,285" in console.export_text()


def test_what_a_user_should_know_is_said(tmp_path: Path) -> None:
    other = [row(f"n{n}", model="model-b") for n in range(3)]
    report, _ = assemble(tmp_path, {"a": MATHS, "b": CODE + other}, quotas={"code": 20})
    notes = "\n".join(list_notes(report))
    assert report.unknown_licenses == {"kata": 9}
    assert "the licence of kata is unknown (9 rows)" in notes
    assert "short of its quota: code: 9 of 20 rows, 11 short" in notes
    assert report.models == {"model-a": 9}
    report, _ = assemble(tmp_path / "both", {"a": MATHS, "b": other})
    assert "rows of 2 models: model-a 60, model-b 3" in list_notes(report)[0]


def test_quotas_and_what_they_leave_out(tmp_path: Path) -> None:
    quotas = {"math": 20, "code": {"tokens": 45}}
    report, rows = assemble(tmp_path, {"a": MATHS, "b": CODE + CHAT}, quotas=quotas)
    assert dict(rows["domain"].value_counts().iter_rows()) == {"math": 20, "code": 5}
    assert left_out(report) == {"domain without a quota": 5, "over its quota": 44}
    assert rows.filter(domain="math")["prompt_id"].n_unique() == 20


def test_a_domain_may_be_selected_in_its_own_way(tmp_path: Path) -> None:
    quotas = {"math": {"rows": 60, "select": {"per_prompt": 1, "pick": "longest"}}, "code": 9}
    _, rows = assemble(tmp_path, {"a": MATHS, "b": CODE}, quotas=quotas)
    assert rows.filter(domain="math")["index"].to_list() == [1] * 30


@pytest.mark.parametrize(("pick", "score"), [("best", [0.1, 0.9]), ("best", [0.9, None])])
def test_the_best_by_the_runs_score(tmp_path: Path, pick: str, score: list[float | None]) -> None:
    rows = [row(f"m{n}", i, score=score[i]) for n in range(4) for i in range(2)]
    _, chosen = assemble(tmp_path, {"a": rows}, select={"per_prompt": 1, "pick": pick})
    assert set(chosen["score"]) == {0.9}


def test_best_without_any_score_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no row of math has one: set select\.score"):
        assemble(tmp_path, {"a": MATHS}, select={"per_prompt": 1, "pick": "best"})


def test_the_most_diverse(tmp_path: Path) -> None:
    first = "we add the numbers one by one and carry what is left over each time"
    other = "a picture helps here draw the squares and count them row after row"
    texts = [first, first + " again", other]
    rows = [row(f"m{n}", i, thinking=text) for n in range(3) for i, text in enumerate(texts)]
    _, chosen = assemble(tmp_path, {"a": rows}, select={"per_prompt": 2, "pick": "diverse"})
    assert sorted(chosen["index"]) == [0, 0, 0, 2, 2, 2]


def test_a_band_of_pass_rates(tmp_path: Path) -> None:
    rows = [row(f"m{n}", pass_rate=n / 10) for n in range(11)] + [row("unknown", pass_rate=None)]
    report, chosen = assemble(tmp_path, {"a": rows}, select={"pass_rate": [0.2, 0.5]})
    assert sorted(chosen["pass_rate"]) == [0.2, 0.3, 0.4, 0.5]
    assert left_out(report) == {"pass rate outside the band": 8}


LONG = "A train leaves the station at noon and travels east at sixty miles an hour for {} hours"
PAIRS = [  # question and answer of one prompt and of another; are they one?
    ((LONG.format(3), "180"), (LONG.format(3), "180"), True),
    ((LONG.format(3), "180"), (LONG.format(3).upper() + "!", "180"), True),
    ((LONG.format(3), "180"), (LONG.format(4), "240"), False),  # a template's other instance
    ((LONG.format(3), "180"), ("How many legs do two horses and three hens have", "180"), False),
    ((LONG.format(3), None), (LONG.format(3) + ".", None), True),
]


@pytest.mark.parametrize(("one", "other", "same"), PAIRS)
def test_near_duplicate_prompts_across_runs(
    tmp_path: Path, one: tuple[str, str], other: tuple[str, str], same: bool
) -> None:
    runs = {
        name: [row(name, question=question, answer=answer)]
        for name, (question, answer) in (("a", one), ("b", other))
    }
    _, rows = assemble(tmp_path, runs)
    assert rows["id"].sort().to_list() == (["a-0"] if same else ["a-0", "b-0"])
    _, rows = assemble(tmp_path / "kept", runs, near_duplicates=None)
    assert rows.height == 2


def test_the_same_prompt_in_two_runs(tmp_path: Path) -> None:
    again = [row("p", 0), row("p", 1, thinking="Otherwise.", model="model-b")]
    report, rows = assemble(tmp_path, {"a": [row("p", 0), row("p", 1)], "b": again})
    assert rows["id"].sort().to_list() == ["p-0", "p-1", "p-1@b"]
    assert left_out(report) == {"same text as another sample": 1}
    assert rows.filter(id="p-1@b")["thinking"].item() == "Otherwise."
    _, rows = assemble(
        tmp_path / "kept",
        {"a": [row("p", 0)], "b": [row("p", 0)]},
        select={"drop_exact_duplicates": False},
    )
    assert rows["id"].sort().to_list() == ["p-0", "p-0@b"]


def test_prompts_in_an_evaluation_set(tmp_path: Path) -> None:
    asked = "one two three four five six seven eight nine ten eleven twelve"
    (tmp_path / "eval.txt").write_text(asked + "\n")
    rows = [row("seen", question=f"First {asked}?"), row("clean")]
    report, chosen = assemble(
        tmp_path, {"a": rows}, contamination={"against": [{"path": str(tmp_path / "eval.txt")}]}
    )
    assert chosen["id"].to_list() == ["clean-0"]
    assert left_out(report) == {"prompt in an evaluation set": 1}


def test_only_some_domains_or_sources_of_a_run(tmp_path: Path) -> None:
    everything = corpus(tmp_path / "all", MATHS + CODE + CHAT)
    report = build_assembly(
        recipe(tmp_path, [{"path": str(everything), "domains": ["code", "general"]}]),
        tmp_path / "domains",
        QUIET,
    )
    assert report.offered.samples == 14
    report = build_assembly(
        recipe(tmp_path, [{"path": str(everything), "sources": ["kata"]}]),
        tmp_path / "sources",
        QUIET,
    )
    assert report.rows.samples == 9


def test_a_domain_that_a_run_has_not_is_refused(tmp_path: Path) -> None:
    """Any text may be a domain, so that a mistyped one shows only here."""
    everything = corpus(tmp_path / "all", MATHS + CODE + CHAT)
    wanted = recipe(tmp_path, [{"path": str(everything), "domains": ["maths"]}])
    with pytest.raises(RunError, match="no prompt of the domain 'maths'; its domains are"):
        build_assembly(wanted, tmp_path / "out", QUIET)


def test_no_prompt_in_both_splits_not_even_under_two_ids(tmp_path: Path) -> None:
    rows = [
        row(f"{twin}{n}", i, question=f"Question number {n} of many?", answer=twin)
        for n in range(60)
        for i in range(2)
        for twin in "ab"  # the same question with another reference answer is another prompt
    ]
    report, chosen = assemble(tmp_path, {"a": rows}, corpus={"validation": 0.3})
    assert chosen.height == 240
    assert 20 < report.splits["validation"] < 140
    train, validation = (
        {
            row["messages"][0]["content"]
            for file in (tmp_path / "out" / "corpus").glob(f"{split}-*")
            for row in pq.read_table(file).to_pylist()
        }
        for split in ("train", "validation")
    )
    assert not train & validation


def test_the_same_bytes_however_the_runs_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: dict[str, Any] = {
        "quotas": {"math": 30, "code": 5},
        "corpus": {"shard_rows": 10, "validation": 0.2},
        "select": {"pick": "random", "per_prompt": 1},
    }
    assemble(tmp_path / "one", {"a": MATHS, "b": CODE + CHAT}, **keys)
    shuffled = random.Random(1).sample(MATHS, len(MATHS))
    assemble(tmp_path / "two", {"b": CODE + CHAT, "a": shuffled}, **keys)
    assert digest(tmp_path / "one" / "out") == digest(tmp_path / "two" / "out")
    assemble(tmp_path / "seed", {"a": MATHS, "b": CODE}, **{**keys, "corpus": {"seed": 1}})
    assert digest(tmp_path / "one" / "out") != digest(tmp_path / "seed" / "out")


SIZES = [({"shard_rows": 25}, [25, 25, 10]), ({"shard_rows": 60}, [60])]


@pytest.mark.parametrize(("keys", "rows"), SIZES)
@pytest.mark.parametrize("memory", [0, 10_000])
@pytest.mark.parametrize("bucket", [4, 7, 2048])
def test_shards_of_a_set_size(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keys: dict[str, int],
    rows: list[int],
    bucket: int,
    memory: int,
) -> None:
    monkeypatch.setattr(shards, "BUCKET_ROWS", bucket)
    monkeypatch.setattr(shards, "SPILL_BYTES", 4000)
    monkeypatch.setattr(shards, "MEMORY_BYTES", memory)
    _, chosen = assemble(tmp_path, {"a": MATHS}, corpus=keys)
    files = sorted((tmp_path / "out" / "corpus").iterdir())
    assert [pq.read_metadata(file).num_rows for file in files] == rows
    monkeypatch.undo()
    _, whole = assemble(tmp_path / "whole", {"a": MATHS})
    assert chosen["id"].to_list() == whole["id"].to_list()


def test_shards_of_a_set_size_in_bytes(tmp_path: Path) -> None:
    rows = [row(f"m{n}", thinking="x" * (2000 + 100 * n)) for n in range(100)]
    assemble(tmp_path, {"a": rows}, corpus={"shard_bytes": 1 << 17})
    files = sorted((tmp_path / "out" / "corpus").iterdir())
    sizes = [int(shards.row_bytes(pq.read_table(file)).sum()) for file in files]
    assert sum(pq.read_metadata(file).num_rows for file in files) == 100
    assert all(size <= 1 << 17 for size in sizes)
    assert all(size > (1 << 17) - 30_000 for size in sizes[:-1])


def test_a_strict_contract_is_kept_or_nothing_is_written(tmp_path: Path) -> None:
    rows, quotas = {"a": MATHS, "b": CODE}, {"math": 60, "code": 10}
    with pytest.raises(QuotaError, match="code: 9 of 10 rows, 1 short; about 1 more prompt would"):
        assemble(tmp_path, rows, quotas=quotas, strict=True)
    assert not (tmp_path / "out" / "corpus").exists()
    report, _ = assemble(tmp_path, rows, quotas={"math": 60, "code": 9}, strict=True)
    assert not report.shortfalls


EMPTY = [
    ({"quotas": {"logic": 5}}, "nothing is left of 60 rows: domain without a quota 60"),
    ({"select": {"pass_rate": [0.9, 1.0]}}, "pass rate outside the band 60"),
]


@pytest.mark.parametrize(("keys", "complaint"), EMPTY)
def test_nothing_left_says_what_took_it(
    tmp_path: Path, keys: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(QuotaError, match=complaint):
        assemble(tmp_path, {"a": MATHS}, **keys)
    assert not (tmp_path / "out" / "corpus").exists()


def test_a_shortfall_goes_by_the_prompts_a_run_asked(tmp_path: Path) -> None:
    made = run(tmp_path / "made", MATHS, {"math": 120})
    found = build_assembly(
        recipe(tmp_path, [{"path": str(made)}], quotas={"math": 80}), tmp_path / "out", QUIET
    )
    assert found.shortfalls[0].rows_a_prompt == 0.5
    assert found.shortfalls[0].extra_prompts == 40
    merged = load_funnel(tmp_path / "out")
    assert (merged.prompts, merged.rows and merged.rows.samples) == (120, 60)


def test_finished_returns_at_once_and_a_change_builds_again(tmp_path: Path) -> None:
    first, _ = assemble(tmp_path, {"a": MATHS})
    made = recipe(tmp_path, [{"path": str(tmp_path / "a")}])
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "out").rglob("*.*") if f.is_file()}
    assert build_assembly(made, tmp_path / "out", QUIET) == first == load_report(tmp_path / "out")
    assert before == {
        f: f.stat().st_mtime_ns for f in (tmp_path / "out").rglob("*.*") if f.is_file()
    }
    corpus(tmp_path / "a", MATHS[:40])
    assert build_assembly(made, tmp_path / "out", QUIET).rows.samples == 40


def test_an_assembly_can_be_assembled_again(tmp_path: Path) -> None:
    assemble(tmp_path, {"a": MATHS})
    again = recipe(tmp_path / "again", [{"path": str(tmp_path / "out")}], quotas={"math": 10})
    assert build_assembly(again, tmp_path / "again" / "out", QUIET).rows.samples == 10


def _rewrite(folder: Path, change: Any) -> Path:
    file = sorted(folder.glob("*.parquet"))[1]
    pq.write_table(change(pq.read_table(file)), file)
    return file


def _as_strings(given: pa.Table) -> pa.Table:
    at = given.schema.get_field_index("n_tokens")
    return given.set_column(at, "n_tokens", given["n_tokens"].cast(pa.string()))


SCHEMAS = [
    (lambda t: t.drop_columns(["n_correct"]), "has no column n_correct"),
    (_as_strings, "column n_tokens is string, a corpus has int32"),
    (lambda t: t.append_column("mine", t["id"]), "column mine is not part of the corpus schema"),
]


@pytest.mark.parametrize(("change", "complaint"), SCHEMAS)
def test_another_schema_is_refused_by_file_and_column(
    tmp_path: Path, change: Any, complaint: str
) -> None:
    good, bad = corpus(tmp_path / "good", CODE), corpus(tmp_path / "bad", MATHS)
    file = _rewrite(bad, change)
    with pytest.raises(RunError) as caught:
        build_assembly(
            recipe(tmp_path, [{"path": str(good)}, {"path": str(bad)}]), tmp_path / "out", QUIET
        )
    assert str(caught.value).startswith(f"{file}: {complaint}")
    assert not (tmp_path / "out").exists()


def test_large_strings_of_other_programs_will_do(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "a", MATHS)
    for file in folder.iterdir():
        pl.read_parquet(file).write_parquet(file)
    report = build_assembly(recipe(tmp_path, [{"path": str(folder)}]), tmp_path / "out", QUIET)
    assert report.rows.samples == 60


def test_a_run_that_kept_nothing_gives_nothing(tmp_path: Path) -> None:
    nothing = run(tmp_path / "nothing", [], {"math": 3})
    given = [{"path": str(nothing)}, {"path": str(corpus(tmp_path / "some", MATHS))}]
    report = build_assembly(recipe(tmp_path, given), tmp_path / "out", QUIET)
    assert report.rows.samples == 60
    assert report.runs == {"some": 60}
    with pytest.raises(RunError, match="none of the runs kept a row \\(nothing\\)"):
        build_assembly(recipe(tmp_path, given[:1]), tmp_path / "other", QUIET)


UNFIT = [
    (lambda f: f / "nowhere", "does not exist; build that run first"),
    (lambda f: (f / "empty").mkdir() or f / "empty", "is neither a finished run"),
    (lambda f: _unfinished(f), "is not finished; finish it with `factory build` first"),
    (lambda f: _torn(f), "cannot be read .*factory repair RUN"),
    (lambda f: corpus(f / "twice", [row("p"), row("p")]), "has the sample p-0 more than once"),
]


def _unfinished(folder: Path) -> Path:
    made = run(folder / "made", MATHS, {"math": 30})
    manifest = json.loads((made / "run.json").read_text())
    (made / "run.json").write_text(json.dumps({**manifest, "state": "running"}))
    return made


def _torn(folder: Path) -> Path:
    made = corpus(folder / "torn", MATHS)
    file = sorted(made.iterdir())[0]
    file.write_bytes(file.read_bytes()[:100])
    return made


@pytest.mark.parametrize(("make", "complaint"), UNFIT)
def test_a_run_that_will_not_do(tmp_path: Path, make: Any, complaint: str) -> None:
    with pytest.raises(RunError, match=complaint):
        build_assembly(recipe(tmp_path, [{"path": str(make(tmp_path))}]), tmp_path / "out", QUIET)


GOOD = """\
kind: assembly
name: mix
runs:
  - path: here
quotas:
  math: 10
"""
REFUSED = [
    ("  math: 10", "  math: 0", "corpus.yaml:6: quotas.math"),
    ("math: 10", "math: {row: 10}", "quotas.math.row is not a key here (did you mean rows?)"),
    ("math: 10", "math: {rows: 1, tokens: 1}", "quotas.math does not fit: give either rows or"),
    ("path: here", "paht: here", "runs.0.paht is not a key here (did you mean path?)"),
    ("path: here", "path: here\n  - path: here", "two runs have the same path"),
    ("path: here", "path: here\n  - path: elsewhere/here", "two runs have the same name here"),
    ("kind: assembly", "kind: asembly", "corpus.yaml:1: kind is 'asembly'; a recipe with `runs`"),
    ("name: mix", "name: mix\nstrikt: true", "strikt is not a key here (did you mean strict?)"),
    ("name: mix", "name: mix\nselect: {score: x}", "select.score belongs in the runs' recipes"),
    ("name: mix", "name: mix\nbalance: {edges: [0.7, 0.3]}", "edges must rise"),
    ("name: mix", "name: mix\nbalance: {edges: [0.5], shares: [1]}", "1 edges make 2 bands"),
    ("quotas:\n  math: 10", "balance: {edges: [0.5]}", "balance needs quotas"),
]


@pytest.mark.parametrize(("old", "new", "complaint"), REFUSED)
def test_refused_with_place_value_and_remedy(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    file = tmp_path / "corpus.yaml"
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(RecipeError) as caught:
        load_build(file)
    assert complaint in str(caught.value)


def test_the_kind_tells_two_documents_apart(tmp_path: Path) -> None:
    file = tmp_path / "corpus.yaml"
    file.write_text(GOOD)
    loaded = load_build(file, ["quotas.math=7"])
    assert isinstance(loaded, Assembly)
    assert (loaded.quotas["math"].rows, loaded.runs[0].path) == (7, tmp_path / "here")
    shipped = Path(__file__).parent.parent / "recipes"
    assert not isinstance(load_build(shipped / "quickstart.yaml"), Assembly)
    corpus_recipe = load_build(shipped / "r1" / "corpus.yaml")
    assert isinstance(corpus_recipe, Assembly)
    assert sum(quota.rows or 0 for quota in corpus_recipe.quotas.values()) == 804_745
    assert isinstance(load_build(shipped / "r1" / "mini" / "corpus.yaml"), Assembly)


CHILD = """
import os, signal, sys
from pathlib import Path
from rich.console import Console
from factory.corpus.assembly.assemble import build_assembly
from factory.recipe.assembly import load_assembly

countdown = int(sys.argv[3])

def deadly(function):
    "Dies just before or just after the countdown-th step that makes something durable."
    def step(*args, **kwargs):
        global countdown
        for _ in range(2):
            countdown -= 1
            if countdown == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            if _ == 0:
                result = function(*args, **kwargs)
        return result
    return step

os.replace, os.fsync, Path.rename = deadly(os.replace), deadly(os.fsync), deadly(Path.rename)
build_assembly(load_assembly(Path(sys.argv[1])), Path(sys.argv[2]), Console(quiet=True))
"""


@pytest.mark.real(group=None)
@pytest.mark.parametrize("step", [1, 9, 15, 21, 27])
def test_killed_anywhere_it_ends_the_same(tmp_path: Path, step: int) -> None:
    keys = {"shard_rows": 20, "validation": 0.2}
    assemble(tmp_path, {"a": MATHS, "b": CODE}, corpus=keys)
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    killed = tmp_path / "killed"
    command = [sys.executable, str(script), str(tmp_path / "corpus.yaml"), str(killed), str(step)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    died = subprocess.run(command, env=environment, check=False)
    assert died.returncode == -signal.SIGKILL
    build_assembly(load_assembly(tmp_path / "corpus.yaml"), killed, QUIET)
    assert digest(killed) == digest(tmp_path / "out")
    assert [path.name for path in killed.glob("corpus.*")] == ["corpus.digests.json"]
    assert {check(path) for path in (killed / "corpus").glob("*.parquet")} == {"sound"}
