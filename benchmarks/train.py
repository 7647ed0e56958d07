"""`factory train` (SFT) compared with plain TRL: tokens per second and peak memory.

    pip install -e ".[cpu,train]"
    python benchmarks/train.py [--only-losses | --threads]

Both train the demo model on the same generated sums, with the same settings and precision (bf16 if
the machine supports it), alternating in separate processes. TRL is used as in its documentation:
conversational prompt and completion columns, SFTTrainer, and defaults otherwise. Speed is that of
the training loop. Memory is the peak of the process, including loading and saving.

Used so, TRL also trains on the line break after each end token, one easy token per row, and its
mean loss is about 2% lower. So it trains a second time on the same texts without the line break:
those losses must agree with the factory's. `--only-losses` compares these two alone, once.
benchmarks/train_grpo.py measures a GRPO step.

`--threads` trains a small network on a machine that is kept busy with one process per core: with
the factory's default (as many threads as cores, which sleep while they wait), with threads that
spin, as they do without the factory, and with one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from factory.core.files import read_lines  # noqa: E402

ROUNDS = 2
ROWS, STEPS, BATCH, MICRO_BATCH = 64, 5, 8, 8
LEARNING_RATE = 1e-4
SMALL_ROWS, SMALL_STEPS = 640, 20
SEED = 11
TARGET_SPEED, TARGET_MEMORY, TARGET_LOSS, TARGET_THREADS = 0.98, 1.02, 0.02, 2.0


class Outcome(NamedTuple):
    """One training: tokens per second of the loop, peak memory of the process, loss per step."""

    speed: float
    memory: float  # GB
    losses: list[float]


def corpus(folder: Path) -> Path:
    """Write sums with reasoning of varying length, in the format of `factory build`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw = random.Random(SEED)
    rows = []
    for number in range(ROWS):
        terms = [draw.randrange(10, 99) for _ in range(draw.randrange(2, 7))]
        partial = [f"Adding {t} gives {sum(terms[: n + 1])}." for n, t in enumerate(terms)]
        thinking = "\n".join(partial)
        turn = f"<think>\n{thinking}\n</think>\n\nThe answer is \\boxed{{{sum(terms)}}}."
        question = f"What is {' + '.join(map(str, terms))}?"
        talk = [{"role": "user", "content": question}, {"role": "assistant", "content": turn}]
        rows.append({"id": str(number), "messages": talk})
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "train-00000-of-00001.parquet")
    return folder


def small_corpus(folder: Path) -> Path:
    """Write sums for the small network, in its tokens."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw = random.Random(SEED)
    rows = []
    for number in range(SMALL_ROWS):
        start, step = draw.randrange(20), draw.randrange(1, 10)
        turn = f"<think>{start + step};</think>{start + step}"
        question = f"{start} {step:+d}{' _' * 7} ="
        talk = [{"role": "user", "content": question}, {"role": "assistant", "content": turn}]
        rows.append({"id": str(number), "messages": talk})
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "train-00000-of-00001.parquet")
    return folder


def train_ours(data: Path, out: Path) -> None:
    """Train with the factory, with a recipe of the same training."""
    from rich.console import Console

    from factory.recipe.sft import Sft
    from factory.train.train import train

    recipe = {
        "kind": "sft",
        "name": "bench",
        "model": "demo",
        "data": str(data),
        "steps": STEPS,
        "batch": BATCH,
        "micro_batch": MICRO_BATCH,
        "max_length": 1024,
        "gradient_checkpointing": False,
        "optimizer": {"learning_rate": LEARNING_RATE, "schedule": "constant"},
        "checkpoint": {"every": 1000},
    }
    train(Sft.model_validate(recipe), out, Console(quiet=True))


def train_small(data: Path, out: Path) -> None:
    """Train the small network of the claims from nothing, with the factory."""
    from rich.console import Console

    from factory.recipe.sft import Sft
    from factory.train.train import train

    recipe = {
        "kind": "sft",
        "name": "small",
        "model": str(ROOT / "recipes/r1/claims/model"),
        "from_config": {},
        "data": str(data),
        "steps": SMALL_STEPS,
        "batch": 64,
        "micro_batch": 64,
        "precision": "fp32",
        "gradient_checkpointing": False,
        "checkpoint": {"every": 1000},
    }
    train(Sft.model_validate(recipe), out, Console(quiet=True))


def train_trl(data: Path, out: Path, *, line_break: bool = True) -> None:
    """Train with TRL's defaults and the same numbers.

    Without `line_break`, prompts and completions are the texts that the factory trains on.
    """
    import torch
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from factory.core.models import demo_model
    from factory.train.arguments import computes_bf16

    rows = load_dataset("parquet", data_dir=str(data), split="train", cache_dir=str(out / "cache"))
    tokenizer = AutoTokenizer.from_pretrained(demo_model())

    def columns(row: dict[str, Any]) -> dict[str, Any]:
        asked, answered = row["messages"][:-1], row["messages"][-1:]
        if line_break:
            return {"prompt": asked, "completion": answered}
        text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        return {"prompt": text, "completion": answered[0]["content"] + tokenizer.eos_token}

    rows = rows.map(columns, remove_columns=["id", "messages"])
    config = SFTConfig(
        output_dir=str(out),
        max_steps=STEPS,
        per_device_train_batch_size=MICRO_BATCH,
        gradient_accumulation_steps=BATCH // MICRO_BATCH,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        max_length=1024,
        gradient_checkpointing=False,
        bf16=computes_bf16(),
        use_cpu=not torch.accelerator.is_available(),
        seed=0,
        logging_steps=1,
        report_to="none",
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(demo_model(), dtype=torch.float32),
        args=config,
        train_dataset=rows,
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(str(out / "model"))
    with open(out / "log.jsonl", "w", encoding="utf-8") as log:
        log.writelines(json.dumps(row) + "\n" for row in trainer.state.log_history)


TRAINERS: dict[str, Callable[[Path, Path], None]] = {
    "factory": train_ours,
    "trl": train_trl,
    "trl-same-text": partial(train_trl, line_break=False),
}

THREADS: dict[str, dict[str, str]] = {
    "default": {},
    "spinning": {"OMP_WAIT_POLICY": "active"},
    "one": {"OMP_NUM_THREADS": "1"},
}
"""Way to use the cores → the variables that ask for it."""


def measure(name: str, data: Path, out: Path, env: Mapping[str, str] = os.environ) -> Outcome:
    """Train in a separate process."""
    arguments = [sys.executable, str(Path(__file__).resolve()), "--only", name, str(data), str(out)]
    out.mkdir()
    silence = (
        os.POSIX_SPAWN_OPEN,
        1,
        str(out.with_suffix(".stdout")),
        os.O_WRONLY | os.O_CREAT,
        0o644,
    )
    child = os.posix_spawn(sys.executable, arguments, env, file_actions=[silence])
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{name} failed; what it said is above")
    rows: list[dict[str, Any]] = read_lines(out / "log.jsonl")
    losses = [row["loss"] for row in rows if "loss" in row]
    seconds = [row["train_runtime"] for row in rows if "train_runtime" in row][-1]  # of the whole
    tokens = max(row.get("tokens", row.get("num_tokens", 0)) for row in rows)
    return Outcome(tokens / seconds, usage.ru_maxrss / 2**20, losses)


def compare() -> None:
    outcomes: dict[str, list[Outcome]] = {name: [] for name in TRAINERS}
    with tempfile.TemporaryDirectory() as scratch:
        data = corpus(Path(scratch) / "corpus")
        for number in range(ROUNDS):
            # Alternate the order, so that increasing load affects both equally.
            for name in sorted(TRAINERS, reverse=bool(number % 2)):
                outcome = measure(name, data, Path(scratch) / f"{name}-{number}")
                outcomes[name].append(outcome)
                print(
                    f"{name:14} {outcome.speed:7.1f} tokens/s  {outcome.memory:5.2f} GB  losses "
                    + " ".join(f"{loss:.4f}" for loss in outcome.losses),
                    flush=True,
                )
    pairs = list(zip(outcomes["factory"], outcomes["trl"], strict=True))
    speed = median(ours.speed / theirs.speed for ours, theirs in pairs)
    memory = median(ours.memory / theirs.memory for ours, theirs in pairs)
    for name in ("trl", "trl-same-text"):
        apart = find_distance(outcomes["factory"], outcomes[name])
        print(f"losses of factory and {name}: at most {apart:.2%} apart")
    claim("sft_loss_apart_from_trl_same_text", apart, TARGET_LOSS, apart <= TARGET_LOSS)
    claim("sft_speed_over_trl", speed, TARGET_SPEED, speed >= TARGET_SPEED)
    claim("sft_memory_over_trl", memory, TARGET_MEMORY, memory <= TARGET_MEMORY)


def find_distance(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> float:
    """Return the largest relative difference of two losses of the same step."""
    return max(
        abs(one - other) / other
        for first, second in zip(ours, theirs, strict=True)
        for one, other in zip(first.losses, second.losses, strict=True)
    )


def compare_losses() -> None:
    """Compare the losses of the factory and of TRL on the same texts, of one training each."""
    with tempfile.TemporaryDirectory() as scratch:
        data = corpus(Path(scratch) / "corpus")
        ours, theirs = (
            measure(name, data, Path(scratch) / name) for name in ("factory", "trl-same-text")
        )
    for name, one in (("factory", ours), ("trl-same-text", theirs)):
        print(f"{name:14} losses " + " ".join(f"{loss:.4f}" for loss in one.losses))
    apart = find_distance([ours], [theirs])
    claim("sft_loss_apart_from_trl_same_text", apart, TARGET_LOSS, apart <= TARGET_LOSS)


def compare_threads() -> None:
    """Compare ways to use the cores of a machine on which every core has other work."""
    plain = {name: os.environ[name] for name in os.environ if not name.startswith("OMP_")}
    spin = [sys.executable, "-c", f"import os\nwhile os.getppid() == {os.getpid()}: pass"]
    speeds: dict[str, list[float]] = {way: [] for way in THREADS}
    with tempfile.TemporaryDirectory() as scratch:
        data = small_corpus(Path(scratch) / "corpus")
        others = [subprocess.Popen(spin) for _ in os.sched_getaffinity(0)]
        try:
            for number in range(ROUNDS):
                for way, variables in THREADS.items():
                    out = Path(scratch) / f"{way}-{number}"
                    speeds[way].append(measure("small", data, out, plain | variables).speed)
        finally:
            for other in others:
                other.kill()
                other.wait()
    one = median(speeds["one"])
    for way, found in speeds.items():
        print(
            f"{way:10} {median(found):8.0f} tokens/s, {one / median(found):5.2f} times one thread's"
        )
    slower = one / median(speeds["default"])
    claim("sft_busy_step_times_one_thread", slower, TARGET_THREADS, slower <= TARGET_THREADS)


def claim(name: str, value: float, target: float, holds: bool) -> None:
    print(json.dumps({"name": name, "value": round(value, 3), "target": target, "holds": holds}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only-losses", action="store_true", help="losses alone, once")
    parser.add_argument("--threads", action="store_true", help="threads on a busy machine")
    parser.add_argument("--only", nargs=3, metavar=("NAME", "DATA", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        trainers = TRAINERS | {"small": train_small}
        trainers[given.only[0]](Path(given.only[1]), Path(given.only[2]))
    elif given.only_losses:
        compare_losses()
    elif given.threads:
        compare_threads()
    else:
        compare()
