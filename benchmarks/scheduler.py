"""Decisions per second and memory of each policy, for 800,000 prompts and 5 million samples.

    python benchmarks/scheduler.py [--prompts N]

A decision is a `next` and its `learn`. The whole loop is timed, including the simulated engine
(2,048 requests in flight, which end in random order), in CPU seconds of one core, which depend
little on other work on the machine. Each policy runs in a separate process. Its peak memory
includes the list of success rates.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from factory.recipe.sampling import Sampling
from factory.sampling.scheduling.scheduler import Scheduler, Ticket

SAMPLES_A_PROMPT = 6.25
IN_FLIGHT = 2048
POLICIES: dict[str, dict[str, Any]] = {
    "fixed": {"n": 7},
    "until": {"policy": "until", "n": 16, "accept": 4, "wave": 4, "give_up_after": 8},
    "difficulty": {"policy": "difficulty", "n": 16, "accept": 4, "wave": 4},
    "budget": {"policy": "budget", "n": 16, "accept": 8},
}


def run(policy: str, prompts: int) -> tuple[int, float, float]:
    """Return decisions, CPU seconds and peak megabytes of one policy."""
    settings = dict(POLICIES[policy])
    wanted = int(SAMPLES_A_PROMPT * prompts)
    if policy == "budget":
        settings["budget"] = {"samples": wanted}
    rng = random.Random(1)
    rates = [rng.betavariate(0.4, 0.5) for _ in range(prompts)]
    sources = bytes(number % 8 for number in range(prompts))
    flying: list[Ticket] = []
    decisions = 0
    began = time.process_time()
    scheduler = Scheduler(Sampling.model_validate(settings), prompts, sources)
    while True:
        while len(flying) < IN_FLIGHT and (ticket := scheduler.next()) is not None:
            flying.append(ticket)
        if not flying:
            break
        at = int(rng.random() * len(flying))
        ticket, flying[at] = flying[at], flying[-1]
        flying.pop()
        accepted = rng.random() < rates[ticket.prompt]
        scheduler.learn(ticket, accepted, 4000 if accepted else 7000)
        scheduler.surplus()
        decisions += 1
    seconds = time.process_time() - began
    return decisions, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=800_000)
    prompts = parser.parse_args().prompts
    results = {}
    print(f"{'policy':<12}{'prompts':>10}{'samples':>12}{'CPU s':>9}{'decisions/s':>13}{'MB':>7}")
    for policy in POLICIES:
        for size in (prompts // 4, prompts):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as one:
                decisions, seconds, megabytes = one.submit(run, policy, size).result()
            rate = decisions / seconds
            results[policy, size] = (rate, megabytes, decisions)
            print(
                f"{policy:<12}{size:>10,}{decisions:>12,}{seconds:>9.1f}{rate:>13,.0f}"
                f"{megabytes:>7,.0f}"
            )
            sys.stdout.flush()
    full = [results[policy, prompts] for policy in POLICIES]
    growth = max(results[p, prompts][1] / results[p, prompts // 4][1] for p in POLICIES)
    claims = [
        ("scheduler_decisions_per_second", min(r for r, _, _ in full), 50_000, "at least"),
        ("scheduler_peak_megabytes", max(m for _, m, _ in full), 2_000, "at most"),
        ("scheduler_memory_growth_for_4x_prompts", growth, 4, "at most"),
    ]
    for name, value, target, sense in claims:
        holds = value >= target if sense == "at least" else value <= target
        print(
            json.dumps({"name": name, "value": round(value, 2), "target": target, "holds": holds})
        )


if __name__ == "__main__":
    main()
