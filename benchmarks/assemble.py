"""Assembles DeepSeek-R1's 804,745 rows from generated runs, compared with the library `datasets`.

    python benchmarks/assemble.py [--fraction 1 --peer-fraction 0.1] [--folder DIR]

Candidates: five domains as in Table 5 of the paper, more than twice the rows of the quotas, two or
three per prompt. Lengths are log-normal with the paper's means (about 3.5 bytes per token). Words
follow Zipf's law, so that they compress like text. Both sides filter by pass rate, keep the
shortest two rows per prompt, fill the quotas, shuffle and write Parquet, at `--peer-fraction` of
the rows: the factory with zstd, `datasets` with snappy, the only codec that it offers, which costs
less time and more disk. Compared are seconds, and CPU seconds of all threads, which depend less on
what else runs. Then the factory runs alone, with near-duplicates, at `--peer-fraction` and twice at
`--fraction`: this measures how time and memory grow, and whether the bytes are equal. Each run is a
process; its memory is the peak. Below `--fraction 1` the time is extrapolated in proportion. Memory
is not: it depends on long texts and on the number of rows, so a run of all 804,745 rows with texts
of a fiftieth of the length is added.

Disk: about 45 GB per unit of `--fraction`, 130 GB per unit of `--peer-fraction` (`datasets` keeps
its tables uncompressed).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from factory.core.checksums import digest_folder, folder_digests_path
from factory.corpus.assembly.statistics import PAPER_TABLE_5
from factory.corpus.rows import DICTIONARY, corpus_schema

SPARE = 1.8  # candidates per wanted row: some prompts have more than may be kept
BYTES_A_TOKEN = 3.5
DOMAINS = ("math", "code", "stem", "logic", "general")
BAND = (0.1, 0.9)
PER_PROMPT = 2
ALL = PAPER_TABLE_5["total"][0]
NEAR = 0.8
MEMORY = 3.0  # GB, the target
SHORT = 0.02

Work = Callable[[Path, Path, float, float | None], None]


def wanted(fraction: float) -> dict[str, int]:
    return {domain: max(round(PAPER_TABLE_5[domain][0] * fraction), 10) for domain in DOMAINS}


def generate(folder: Path, fraction: float, lengths: float = 1.0) -> None:
    """Generate one finished run per domain, in shards of 4,000 rows, with scaled lengths."""
    rng = np.random.default_rng(20)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    words = ["".join(rng.choice(letters, rng.integers(2, 11))) for _ in range(8000)]
    ranks = np.minimum(rng.zipf(1.25, 4_000_000), 8000) - 1
    pool = " ".join(words[rank] for rank in ranks)
    options: dict[str, Any] = {"compression": "zstd", "use_dictionary": list(DICTIONARY)}
    for domain, rows in wanted(fraction).items():
        run = folder / domain
        (run / "corpus").mkdir(parents=True)
        (run / "run.json").write_text(json.dumps({"format": 1, "state": "done"}))
        count = int(rows * SPARE / (BAND[1] - BAND[0]))
        mean = PAPER_TABLE_5[domain][2]
        tokens = rng.lognormal(np.log(mean) - 0.32, 0.8, count).astype(np.int32) + 20
        prompts = np.sort(rng.integers(0, count // 2, count))
        shards = range(0, count, 4000)
        for number, start in enumerate(shards):
            part = slice(start, min(start + 4000, count))
            sizes = (tokens[part] * BYTES_A_TOKEN * lengths).astype(int)
            frame = _rows(domain, prompts[part], tokens[part], sizes, start, pool, rng)
            name = f"train-{number:05d}-of-{len(shards):05d}.parquet"
            table = frame.to_arrow().cast(corpus_schema())
            pq.write_table(table, run / "corpus" / name, row_group_size=2000, **options)
        digests = digest_folder(run / "corpus")  # as a finished run has them
        folder_digests_path(run / "corpus").write_text(digests)


def _rows(
    domain: str,
    prompts: Any,
    tokens: Any,
    sizes: Any,
    start: int,
    pool: str,
    rng: np.random.Generator,
) -> pl.DataFrame:
    begins = rng.integers(0, len(pool) - min(sizes.max(), len(pool) // 2), len(sizes))
    thinking = [pool[b : b + s] for b, s in zip(begins, sizes, strict=True)]
    # The question depends on the prompt's number only, not on the shard.
    openings = ((prompts * 7919) % 3_000_000).tolist()
    questions = [f"{pool[b : b + 300]} {p}?" for b, p in zip(openings, prompts, strict=True)]
    pass_rate = (prompts * 2654435761 % 1000) / 1000
    frame = pl.DataFrame(
        {
            "prompt_id": [f"{domain}{p:09d}" for p in prompts.tolist()],
            "index": np.arange(start, start + len(tokens), dtype=np.int32),
            "thinking": thinking,
            "question": questions,
            "n_tokens": tokens,
            "pass_rate": pass_rate,
        }
    )
    user = pl.struct(role=pl.lit("user"), content="question")
    content = pl.format("<think>\n{}\n</think>\n\nSo it is.", "thinking")
    assistant = pl.struct(role=pl.lit("assistant"), content=content)
    null = pl.lit(None)
    return frame.with_columns(
        id=pl.format("{}-{}", "prompt_id", "index"),
        messages=pl.concat_list(user, assistant),
        response=pl.lit("So it is."),
        answer=pl.col("prompt_id"),
        domain=pl.lit(domain),
        source=pl.lit(f"{domain}-prompts"),
        license=pl.lit("Apache-2.0"),
        n_samples=pl.lit(4),
        n_correct=(pl.col("pass_rate") * 4).cast(pl.UInt32),
        model=pl.lit("generated"),
        prompt_text=pl.col("question"),
        finish_reason=pl.lit("stop"),
        meta=pl.lit("{}"),
        **{
            name: null.cast(pl.List(pl.String)) if name == "also_in" else null
            for name in (
                "extracted_answer",
                "also_in",
                "language",
                "n_prompt_tokens",
                "score",
                "sampling",
                "created_at",
                "verdicts",
            )
        },
    ).select(corpus_schema().names)


def ours(folder: Path, out: Path, fraction: float, near: float | None) -> None:
    from factory.corpus.assembly.assemble import build_assembly
    from factory.recipe.assembly import Assembly

    recipe = Assembly.model_validate(
        {
            "kind": "assembly",
            "name": "bench",
            "runs": [{"path": folder / domain} for domain in DOMAINS],
            "select": {"pass_rate": BAND, "per_prompt": PER_PROMPT, "pick": "shortest"},
            "quotas": wanted(fraction),
            "near_duplicates": near,
            "strict": True,
        }
    )
    build_assembly(recipe, out, Console(quiet=True))


def theirs(folder: Path, out: Path, fraction: float, near: float | None) -> None:
    """Make the same selection with `datasets`."""
    import datasets

    datasets.disable_progress_bars()
    parts = []
    for domain, rows in wanted(fraction).items():
        files = [str(file) for file in sorted((folder / domain / "corpus").glob("*.parquet"))]
        part = datasets.load_dataset(
            "parquet", data_files=files, split="train", cache_dir=str(out / "cache")
        )
        part = part.filter(lambda rate: BAND[0] <= rate <= BAND[1], input_columns="pass_rate")
        narrow = part.select_columns(["prompt_id", "n_tokens", "index"]).to_polars()
        order = narrow.with_row_index("at").sort("prompt_id", "n_tokens", "index")
        short = order.filter(pl.int_range(pl.len()).over("prompt_id") < PER_PROMPT)
        part = part.select(np.sort(short["at"].to_numpy())).shuffle(seed=0)
        part = part.select(range(rows)).map(
            lambda row: {"rounds": sum(m["role"] == "user" for m in row["messages"])}
        )
        parts.append(part)
    corpus = datasets.concatenate_datasets(parts).shuffle(seed=0)
    (out / "corpus").mkdir(parents=True)
    shards = -(-len(corpus) // 50_000)
    for number in range(shards):
        corpus.shard(shards, number, contiguous=True).to_parquet(
            out / "corpus" / f"train-{number:05d}.parquet"
        )
    shutil.rmtree(out / "cache")


class Measured(NamedTuple):
    """One run of one tool."""

    title: str
    rows: int
    seconds: float
    cpu: float
    peak: float
    digest: str


def measured(work: Work, *arguments: Any) -> tuple[float, float, float]:
    """Return seconds, CPU seconds and peak GB of `work` in a separate process."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(send, work, arguments))
    child.start()
    send.close()  # so that a child that fails ends the wait
    found: tuple[float, float, float] = receive.recv()
    child.join()
    return found


def _child(send: Any, work: Work, arguments: tuple[Any, ...]) -> None:
    import factory.corpus.assembly.assemble  # noqa: F401  (imports are not what is measured)

    start, used = time.perf_counter(), time.process_time()
    work(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    send.send((time.perf_counter() - start, time.process_time() - used, peak))


def digest(out: Path) -> str:
    total = hashlib.sha256()
    for file in sorted((out / "corpus").iterdir()):
        total.update(file.name.encode())
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fraction", type=float, default=0.02, help="of the 804,745 rows")
    parser.add_argument("--peer-fraction", type=float, help="half of --fraction unless given")
    parser.add_argument("--folder", type=Path, help="for the data; a temporary one unless given")
    parser.add_argument("--no-peer", action="store_true", help="leave `datasets` out")
    options = parser.parse_args()
    fraction, smaller = options.fraction, options.peer_fraction or options.fraction / 2
    if not 0 < smaller < fraction <= 1:
        parser.error("wanted: 0 < --peer-fraction < --fraction <= 1")
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        os.environ["HF_HOME"] = str(Path(name) / "hf")
        report(Path(name), fraction, smaller, not options.no_peer)


def report(folder: Path, fraction: float, smaller: float, peer: bool) -> None:
    runs: list[Measured] = []

    def run(title: str, work: Work, part: float, near: float | None, data: str) -> Measured:
        out = folder / "out"
        spent = measured(work, folder / data, out, part, near)
        rows = sum(pq.read_metadata(file).num_rows for file in (out / "corpus").glob("*.parquet"))
        assert rows == sum(wanted(part).values()), f"{title}: {rows} rows"
        runs.append(Measured(title, rows, *spent, digest(out)))
        shutil.rmtree(out)
        return runs[-1]

    generate(folder / "small", smaller)
    ours_bare = run("factory", ours, smaller, None, "small")
    peers = run("datasets", theirs, smaller, None, "small") if peer else None
    small = run("factory, near-duplicates too", ours, smaller, NEAR, "small")
    shutil.rmtree(folder / "small")
    generate(folder / "large", fraction)
    size = sum(f.stat().st_size for f in (folder / "large").rglob("*.parquet")) / 1e9
    large = run("the same, larger", ours, fraction, NEAR, "large")
    again = run("and again", ours, fraction, NEAR, "large")
    shutil.rmtree(folder / "large")
    most = [large, again]
    if fraction < 1:
        generate(folder / "short", 1.0, SHORT)
        most.append(run("all rows, short texts", ours, 1.0, NEAR, "short"))
    table = Table(title=f"{size:.2f} GB of candidates at fraction {fraction}", box=None)
    for column in ("", "rows", "seconds", "CPU s", "rows/s", "peak GB"):
        table.add_column(column, justify="right" if column else "left")
    for one in runs:
        times = (f"{one.seconds:.1f}", f"{one.cpu:.1f}", f"{one.rows / one.seconds:,.0f}")
        table.add_row(one.title, f"{one.rows:,}", *times, f"{one.peak:.2f}")
    Console().print(table)
    best = min(large.seconds, again.seconds)
    peak = max(one.peak for one in most)
    growth = (best / large.rows) / (small.seconds / small.rows)
    claim("rows assembled at full length", large.rows, ALL, large.rows >= ALL)
    minutes = best * ALL / large.rows / 60
    claim("minutes for all 804,745 rows, in proportion", minutes, 60, minutes < 60)
    claim("peak memory, GB", peak, MEMORY, peak < MEMORY)
    claim(f"time a row with {fraction / smaller:.3g} times the rows", growth, 1.2, growth < 1.2)
    same = large.digest == again.digest
    claim("twice the same bytes", float(same), 1.0, same)
    if peers:
        faster = peers.seconds / ours_bare.seconds
        claim("times faster than datasets", faster, 5.0, faster > 5)
        cheaper = peers.cpu / ours_bare.cpu
        claim("times less CPU than datasets", cheaper, 5.0, cheaper > 5)


def claim(name: str, value: float, target: float, holds: bool) -> None:
    print(json.dumps({"name": name, "value": round(value, 3), "target": target, "holds": holds}))


if __name__ == "__main__":
    main()
