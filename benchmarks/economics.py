"""Generated tokens per corpus row: the usual `fixed` policy compared with the other policies.

    python benchmarks/economics.py                 simulated, some minutes
    python benchmarks/economics.py --real          the demo model through `factory build`, minutes

A corpus uses at most k accepted samples per prompt (`select.per_prompt`). All policies get the same
results: sample j of prompt i is right or wrong, long or short, for every policy. `fixed` with n =
16 sets the target: the tokens of another policy are counted when it has as many rows and as many
covered prompts. The possible savings depend on n / k, so other n are shown for `until`. At k = n
every accepted sample is a row, `until` draws the same samples as `fixed`, and nothing is saved.

The prompts have three sources of equal size. Their pass rates are mixtures of Beta distributions of
three published shapes. We chose the weights to reproduce the published figure:

openr1   OpenR1-Math-220k: 55% of 400k prompts had a correct answer among two of R1's.
dart     DART-Math (arXiv 2407.13690): 51.1% of the hardest MATH queries got no correct answer.
polaris  POLARIS (hkunlp.github.io/blog/2025/Polaris): with a stronger model most prompts have eight
         right answers of eight and few have none, the mirror image of a weak model.

In all of them pass rates cluster at 0 and 1, with a heavy tail towards 0 (Schaeffer et al., ICML
2025). Lengths are log-normal with R1's mean for mathematics, 6,094 tokens (arXiv 2501.12948v2,
Table 5), and cut at 16,384. Wrong answers are longer in practice, by an unpublished factor; both
1.0 and 1.6 are simulated.

`--real` draws 16 samples per prompt from the demo model, on small sums, and applies all policies to
these verdicts and tokens; the target is `fixed` with n = 8. Then `until` is built for real, with
its waves, aborts and live verdicts, and its tokens per row are compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factory.recipe.sampling import Sampling
from factory.sampling.scheduling.scheduler import Ticket
from factory.sampling.scheduling.simulate import Simulated, simulate

PROMPTS, N, MOST = 3000, 16, 20
FIRST_ROWS = (18.0, 12.0, 8.0, 25.0)
"""Values of a prompt's first row that `budget` may use. Rows and coverage must both reach the
target, and with more rows per prompt, more of them cover no further prompt."""
ROWS_A_PROMPT = (1, 2, 4, 8)
MARKS = (4, 8, 16, 32)
CLAIMED = (1, 2, 4)
"""Values of k in the claims. The table shows where the savings end."""

SHAPES: dict[str, list[tuple[float, float, float]]] = {  # weight, alpha, beta
    "openr1": [(0.35, 0.2, 20.0), (0.30, 1.0, 1.0), (0.35, 9.0, 1.0)],
    "dart": [(0.45, 0.15, 12.0), (0.38, 0.8, 2.0), (0.17, 5.0, 1.0)],
    "polaris": [(0.12, 0.3, 8.0), (0.33, 1.2, 0.8), (0.55, 14.0, 0.6)],
}


class World(NamedTuple):
    """The result of every sample of every prompt."""

    sources: list[int]
    hits: NDArray[np.bool_]
    lengths: NDArray[np.int64]
    rates: NDArray[np.float64] | None = None  # unknown to the policies

    @property
    def most(self) -> int:
        """The number of samples per prompt."""
        return int(self.hits.shape[1])

    def run(self, settings: dict[str, Any]) -> Simulated:
        """Simulate a policy."""
        hits, lengths = self.hits.tolist(), self.lengths.tolist()

        def outcome(ticket: Ticket) -> tuple[bool, int]:
            prompt, index = ticket.prompt, ticket.index
            return hits[prompt][index], lengths[prompt][index]

        return simulate(Sampling.model_validate(settings), len(hits), outcome, self.sources)


def world(wrong_length: float, most: int = MOST, seed: int = 0) -> World:
    """Generate prompts. Wrong answers are `wrong_length` times as long as right ones."""
    rng = np.random.default_rng(seed)
    sources = [number % len(SHAPES) for number in range(PROMPTS)]
    rates = np.empty(PROMPTS)
    for number, parts in enumerate(SHAPES.values()):
        weights, alphas, betas = np.array(parts).T
        own = np.flatnonzero(np.array(sources) == number)
        part = rng.choice(len(weights), len(own), p=weights)
        rates[own] = rng.beta(alphas[part], betas[part])
    hits = rng.random((PROMPTS, most)) < rates[:, None]
    spread = rng.lognormal(0, 0.4, (PROMPTS, 1)) * rng.lognormal(0, 0.4, (PROMPTS, most))
    right = 6094 / np.exp(0.16)  # the mean of the product of the two is exp(0.16)
    lengths = right * spread * np.where(hits, 1.0, wrong_length)
    return World(sources, hits, np.clip(lengths, 64, 16384).astype(np.int64), rates)


def describe(known: World) -> None:
    """Print the shapes, for comparison with the published figures."""
    assert known.rates is not None
    for number, shape in enumerate(SHAPES):
        own = known.rates[np.array(known.sources) == number]
        print(
            f"  {shape:<8} mean pass rate {own.mean():.2f}, right in 1 of 2 "
            f"{(1 - (1 - own) ** 2).mean():.0%}, none of 8 {((1 - own) ** 8).mean():.0%}, "
            f"all of 8 {(own**8).mean():.0%}"
        )


def least_budget(known: World, k: int, fixed: Simulated) -> Simulated | None:
    """Return the run with the smallest token budget (to 1%) that matches `fixed`."""
    best = None
    for first_row in FIRST_ROWS if k > 1 else (1.0,):
        low, high = 0.3 * fixed.tokens.sum(), 1.2 * fixed.tokens.sum()
        if best is not None:  # first check whether it is better, then search by how much
            high = middle = 0.99 * best.tokens.sum()
        else:
            middle = (low + high) / 2
        while high - low > 0.01 * high:
            limits = {"tokens": int(middle), "first_row": first_row}
            settings = {"policy": "budget", "n": known.most, "accept": k, "budget": limits}
            tried = known.run(settings)
            if tried.rows(k) >= fixed.rows(k) and tried.covered >= fixed.covered:
                best = min(best or tried, tried, key=lambda run: int(run.tokens.sum()))
                high = middle
            elif middle == high:
                break
            else:
                low = middle
            middle = (low + high) / 2
    return best


def one_by_one(known: World, k: int, n: int) -> int:
    """Return the tokens of drawing each prompt one by one, at most `n`, until k are accepted.

    With these results no policy with at most `n` samples per prompt gets the rows for less.
    """
    before: NDArray[np.int64] = np.cumsum(known.hits[:, :n], axis=1) - known.hits[:, :n]
    return int((known.lengths[:, :n] * (before < k)).sum())


def compared(known: World, n: int, ks: Iterable[int], name: str) -> list[dict[str, object]]:
    """Print a table of all policies and `fixed` with `n`. Returns the claims for `CLAIMED`."""
    claims: list[dict[str, object]] = []
    titles = ("tokens", "rows", "covered", "a row", "saved")
    print("{:<3}{:<14}{:>13}{:>8}{:>9}{:>9}{:>8}".format("k", "policy", *titles))
    fixed = known.run({"n": n})
    for k in ks:
        until = known.run({"policy": "until", "n": n, "accept": k, "wave": 8})
        runs = {"fixed": fixed, "until": until, "budget": least_budget(known, k, fixed)}
        least = one_by_one(known, k, n)
        could = 1 - least / int(fixed.tokens.sum())
        print(f"{k:<3}{'least':<14}{least:>13,}{'':>26}{could:>8.1%}  drawing one at a time")
        for policy, run in runs.items():
            if run is None:
                print(f"{k:<3}{policy:<14} does not reach the target at 1.2 times the tokens")
                continue
            spent, rows = int(run.tokens.sum()), run.rows(k)
            saved = 1 - spent / int(fixed.tokens.sum())
            print(
                f"{k:<3}{policy:<14}{spent:>13,}{rows:>8,}{run.covered:>9,}"
                f"{spent / rows:>9,.0f}{saved:>8.1%}",
                flush=True,
            )
            if policy == "fixed" or k not in CLAIMED:
                continue
            equal = rows >= fixed.rows(k) and run.covered >= fixed.covered
            claims.append(
                {
                    "name": f"economics_{policy}_k{k}_{name}_saved",
                    "value": round(saved, 3),
                    "target": 0.4,
                    "holds": bool(equal and saved >= 0.4),
                }
            )
    return claims


def simulated() -> list[dict[str, object]]:
    """Print the tables of the simulated prompts. Returns the claims."""
    claims: list[dict[str, object]] = []
    for wrong_length in (1.0, 1.6):
        print(f"\nwrong answers {wrong_length} times as long as right ones")
        known = world(wrong_length)
        describe(known)
        by_mark(wrong_length)
        claims += compared(known, N, ROWS_A_PROMPT, f"wrong_x{wrong_length}")
        claims += at_equal_tokens(known, wrong_length)
    return claims


def by_mark(wrong_length: float) -> None:
    """Print the savings of `until` for other targets: they depend on samples per row."""
    known = world(wrong_length, most=max(MARKS))
    print("saved by until" + "".join(f"{f'n = {n}':>9}" for n in MARKS))
    for k in ROWS_A_PROMPT:
        saved = []
        for n in MARKS:
            fixed, until = (
                known.run({"n": n, **more}).tokens.sum()
                for more in ({}, {"policy": "until", "accept": min(k, n), "wave": 8})
            )
            saved.append(1 - until / fixed)
        print(f"  k = {k:<8}" + "".join(f"{share:>9.0%}" for share in saved))


def at_equal_tokens(known: World, wrong_length: float) -> list[dict[str, object]]:
    """Compare `budget` with `fixed`, n = 4, at equal tokens."""
    fixed = known.run({"n": 4})
    print(
        f"the tokens of fixed n=4: {fixed.rows(4):,} rows, {fixed.covered:,} covered; as a budget"
    )
    claims: list[dict[str, object]] = []
    for objective, now in (("accepted", fixed.rows(4)), ("covered", fixed.covered)):
        limits = {"tokens": int(fixed.tokens.sum()), "objective": objective}
        run = known.run({"policy": "budget", "n": N, "accept": 4, "budget": limits})
        got = run.rows(4) if objective == "accepted" else run.covered
        print(f"  for {objective}: {run.rows(4):,} rows, {run.covered:,} covered")
        claims.append(
            {
                "name": f"economics_budget_{objective}_wrong_x{wrong_length}_gain_at_equal_tokens",
                "value": round(got / now - 1, 3),
                "target": 0,
                "holds": got > now,
            }
        )
    return claims


def real(prompts: int) -> list[dict[str, object]]:
    """Run the demo model on small sums."""
    with tempfile.TemporaryDirectory() as name:
        build(Path(name) / "fixed", prompts, "sampling.n=16")
        drawn = drawn_samples(Path(name) / "fixed")
    by_prompt = drawn.group_by("prompt_id", maintain_order=True).agg("accepted", "n_tokens")
    hits = np.array(by_prompt["accepted"].to_list())
    known = World([0] * len(hits), hits, np.array(by_prompt["n_tokens"].to_list()))
    right, wrong = known.lengths[hits].mean(), known.lengths[~hits].mean()
    print(
        f"{len(hits)} prompts, pass rate {hits.mean():.2f}, none of 16 {(~hits.any(1)).mean():.0%},"
        f" wrong answers {wrong / right:.2f} times as long as right ones"
    )
    claims = compared(known, 8, (1, 2, 4), "demo_model")
    for claim in claims:
        claim |= {"target": None, "holds": float(str(claim["value"])) > 0}
    with tempfile.TemporaryDirectory() as name:
        policy = ("sampling.policy=until", "sampling.accept=2", "sampling.wave=8")
        build(Path(name) / "until", prompts, "sampling.n=8", *policy)
        until = drawn_samples(Path(name) / "until")
    fixed, k = known.run({"n": 8}), 2
    accepted = until.group_by("prompt_id").agg(pl.col("accepted").sum())["accepted"]
    rows = int(accepted.clip(0, k).sum())
    a_row = int(until["n_tokens"].sum()) / rows
    fixed_a_row = int(fixed.tokens.sum()) / fixed.rows(k)
    print(f"k=2, built for real: until {a_row:,.0f} tokens per row, fixed {fixed_a_row:,.0f}")
    return [
        *claims,
        {
            "name": "economics_until_k2_demo_model_built_saved_a_row",
            "value": round(1 - a_row / fixed_a_row, 3),
            "target": None,
            "holds": a_row < fixed_a_row,
        },
    ]


def build(run: Path, prompts: int, *settings: str) -> None:
    """Return the quickstart recipe with other settings."""
    command = [str(Path(sys.executable).with_name("factory")), "build", "recipes/quickstart.yaml"]
    for option in (f"sources.0.size={prompts}", *settings):
        command += ["--set", option]
    root = Path(__file__).parent.parent
    subprocess.run([*command, "--run", str(run)], check=True, cwd=root, stdout=subprocess.DEVNULL)


def drawn_samples(run: Path) -> pl.DataFrame:
    """Return prompt_id, index, n_tokens and accepted of each sample."""
    return (
        pl.read_parquet(run / "verdicts" / "part-*.parquet")
        .select("prompt_id", "sample_id", "n_tokens", accepted=pl.col("decision") == "keep")
        .with_columns(index=pl.col("sample_id").str.split("-").list.last().cast(pl.Int32))
        .sort("prompt_id", "index")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Tokens for each row, by policy.")
    parser.add_argument("--real", action="store_true", help="run the demo model instead")
    parser.add_argument("--prompts", type=int, default=48, help="of the real run")
    arguments = parser.parse_args()
    claims = real(arguments.prompts) if arguments.real else simulated()
    print()
    for claim in claims:
        print(json.dumps(claim))


if __name__ == "__main__":
    main()
