"""Scheduling policies on the real engine: what each prompt got is what its policy asks for.

A verdict comes while the engine samples, so these runs go through the live judge, the abort of what
became superfluous, and the escalated settings, as no replayed run does. Most of them share the
server of one `factory serve`; the others load the engine into this process.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.run_dir import sample_parts
from factory.judging.funnel import Funnel
from factory.judging.verdicts import load_verdicts
from factory.recipe.build import Recipe, load_recipe
from factory.sampling.scheduling.policies import WAVE_POLICIES
from tests.e2e.test_main_job import FACTORY, drawn, factory, recipe
from tests.ports import free_ports

pytestmark = pytest.mark.real

SHORT = "sampling.max_tokens=80"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The `engine:` line that `factory serve` prints once its server is ready."""
    (port,), folder = free_ports(1), tmp_path_factory.mktemp("serve")
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
    command = [*FACTORY, "serve", str(recipe(folder)), "--port", str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                if line.startswith("engine:"):
                    yield "engine=" + line.removeprefix("engine:").strip()
                    break
            else:
                raise AssertionError(f"no server: {said}")
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(300) == 0
    left = subprocess.run(["pgrep", "-f", f"api_server.*--port {port}"], capture_output=True)
    assert not left.stdout, "factory serve left a server behind"


def built(folder: Path, size: int, n: int, *changes: str) -> tuple[Recipe, Funnel]:
    loaded = load_recipe(recipe(folder, size=size, n=n), changes)
    return loaded, build(loaded, folder / "run", Console(quiet=True))


def samples(run: Path) -> pl.DataFrame:
    """prompt_id, index, params_fp and whether it was accepted, in the order of indices."""
    columns = ["prompt_id", "index", "params_fp"]
    drawn = pl.concat(pl.read_parquet(part, columns=columns) for part in sample_parts(run))
    verdicts = load_verdicts(run).select("sample_id", accepted=pl.col("decision") == "keep")
    named = drawn.with_columns(sample_id=pl.format("{}-{}", "prompt_id", "index"))
    return named.join(verdicts.collect(), on="sample_id").sort("prompt_id", "index")


def wanted(loaded: Recipe, accepted: list[bool]) -> int:
    """The samples that the policy draws of a prompt with these verdicts."""
    policy = WAVE_POLICIES[loaded.sampling.policy](loaded.sampling)
    drawn = 0
    while drawn <= len(accepted) and (size := policy.more(drawn, sum(accepted[:drawn]))):
        drawn += size
    return drawn


def gets_what_its_verdicts_ask_for(folder: Path, *changes: str) -> None:
    loaded, funnel = built(folder, 12, 6, "sampling.wave=2", *changes)
    for prompt, own in samples(folder / "run").group_by("prompt_id"):
        assert own.height == wanted(loaded, own["accepted"].to_list()), prompt
    assert funnel.kept.samples
    assert funnel.drawn.samples < 6 * funnel.prompts


def test_until_one_is_accepted_in_this_process(tmp_path: Path) -> None:
    """Kernels that were compiled for filters must not break vLLM's start."""
    policy = ("sampling.policy=until", "sampling.accept=1", "sampling.early_stop={every: 32}")
    gets_what_its_verdicts_ask_for(tmp_path, *policy, "sampling.temperature=0.8")


@pytest.mark.parametrize("judge", ["engine", "{start: demo, args: {max_model_len: 2048}}"])
def test_a_model_on_this_machine_judges_after_sampling(tmp_path: Path, judge: str) -> None:
    """A second engine in the same process; a model this small has no opinion worth counting."""
    judge = f"filters.correctness={{combine: rule_or_judge, judge: {judge}}}"
    _, funnel = built(tmp_path, 3, 2, judge, "sampling.max_tokens=60", "corpus.min_rows=0")
    reasons = {item.reason for item in funnel.taken}
    assert reasons <= {"judge_undecided", "judge_wrong", "unclosed_think", "truncated", "loop"}
    asked = load_verdicts(tmp_path / "run").collect().height
    assert asked == 2 * funnel.prompts


def test_a_build_against_factory_serve(engine: str, tmp_path: Path) -> None:
    """Two commands, as a user types them: what serve prints is what build takes."""
    path, run = recipe(tmp_path, size=16, n=6), tmp_path / "run"
    policy = "sampling={policy: until, n: 6, accept: 1, wave: 3, top_k: 50, max_tokens: 100}"
    done = factory("build", path, "--run", run, "--set", engine, "--set", policy)
    assert done.returncode == 0, done.stderr
    counts = drawn(run)
    prompts = pq.read_metadata(run / "prompts.parquet").num_rows
    assert set(counts.values()) == {1}
    assert prompts < len(counts) < 6 * prompts
    rows = pl.read_parquet(run / "corpus" / "*.parquet")
    assert rows.height
    assert rows["id"].is_unique().all()
    assert rows["n_tokens"].min() > 0
    assert rows["n_prompt_tokens"].min() > 0
    assert rows["prompt_text"].str.contains("Question|User").all()
    assert set(rows["model"]) == {"SmolLM2-135M-Instruct"}


def test_a_prompt_gets_more_the_harder_it_is(engine: str, tmp_path: Path) -> None:
    policy = ("sampling.policy=difficulty", "sampling.accept=3")
    gets_what_its_verdicts_ask_for(tmp_path, engine, *policy, SHORT)


def test_barren_prompts_escalate_and_are_then_given_up(engine: str, tmp_path: Path) -> None:
    escalate = "sampling.escalate=[{temperature: 0.9}, {temperature: 1.2, max_tokens: 60}]"
    options = ["sampling.policy=until", "sampling.accept=1", "sampling.give_up_after=2"]
    loaded, _ = built(tmp_path, 8, 12, engine, *options, escalate, SHORT)
    levels = {loaded.params_fp(level): level for level in range(3)}
    assert len(levels) == 3
    found = samples(tmp_path / "run")
    for _, own in found.group_by("prompt_id"):
        accepted = own["accepted"].to_list()
        assert own.height == wanted(loaded, accepted) <= 6
        # Two at each level while nothing is accepted; once something is, there is no more to draw.
        assert [levels[fp] for fp in own["params_fp"]] == [i // 2 for i in range(own.height)]
    assert set(found["params_fp"]) == set(levels), "too easy a set to say anything"
    rows = pl.read_parquet(tmp_path / "run" / "corpus" / "*.parquet").select(
        "prompt_id", "index", hot=pl.col("sampling").str.contains('"sampling.temperature": 1.2')
    )
    assert rows.filter(pl.col("hot") != (pl.col("index") >= 4)).is_empty()


def test_a_budget_is_spent_where_it_pays_and_more_goes_on(engine: str, tmp_path: Path) -> None:
    spent = 0
    for tokens in (1200, 2400):
        budget = f"sampling.budget={{tokens: {tokens}}}"
        changes = [engine, "sampling.policy=budget", "sampling.wave=2", budget, SHORT]
        _, funnel = built(tmp_path, 12, 8, *changes)
        # What is in flight when the budget runs out was counted at the mean length.
        assert 0.6 * tokens < funnel.drawn.tokens < 1.3 * tokens
        assert funnel.drawn.tokens > spent
        spent = funnel.drawn.tokens
    per_prompt = (
        samples(tmp_path / "run")
        .group_by("prompt_id")
        .agg(drawn=pl.len(), accepted=pl.col("accepted").sum())
    )
    fruitful = per_prompt.filter(pl.col("accepted") > 0)["drawn"].mean()
    barren = per_prompt.filter(pl.col("accepted") == 0)["drawn"].mean()
    assert fruitful is not None
    assert barren is None or fruitful > barren
