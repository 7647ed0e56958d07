"""BFCL's multi-turn questions: our environment and verifier against BFCL's own checker.

    pip install --no-deps bfcl-eval
    python benchmarks/multi_turn.py [--seed N] [--items N] [--show N]

For each question, the expected calls are made, and seeded mutations of them: a call left out, made
twice, moved to the turn before, with another argument, a turn left out, calls that only read added.
Both judge the same calls, turn by turn, in a process of its own for each: BFCL's checker evaluates
source text, and its services keep state in their modules.

One difference is on purpose, and not counted: a function that is only offered in a later turn
cannot be called before it. BFCL's checker makes such a call, a server would refuse it.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from tool_calls import ask_checker

from factory.core.environment import BFCL_SERVICES, Action, Observation
from factory.core.nouns import Prompt
from factory.environments.bfcl import Bfcl as Services
from factory.prompts.sets.bfcl import Bfcl, find_data, read_rows
from factory.prompts.sets.bfcl_turns import MULTI_TURN

TARGET = 0.995
Turns = list[list[dict[str, Any]]]

CHECKER = """
import json, os, sys, time
from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker import multi_turn_checker
for line in sys.stdin:
    item = json.loads(line)
    if child := os.fork():  # services of one item change what later ones begin with
        os.waitpid(child, 0)
        continue
    started = time.process_time()
    try:
        found = multi_turn_checker(item["calls"], item["answer"], item["entry"], item["category"],
                                   "model")
        said = found["valid"], str(found.get("error_message"))[:300]
    except Exception as error:
        said = None, f"{type(error).__name__}: {error}"[:300]
    print(json.dumps([*said, time.process_time() - started]), flush=True)
    os._exit(0)
"""


NOT_OFFERED = "not offered yet"
MUTATIONS = (
    "a call less",
    "a call twice",
    "another argument",
    "no call in a turn",
    "a call too early",
    "a call that reads",
    "other order",
    "a text cut",
)


class Case(NamedTuple):
    prompt: Prompt
    turns: Turns
    mutation: str


def cases(prompt: Prompt, rng: random.Random) -> Iterator[Case]:
    gold: Turns = copy.deepcopy((prompt.environment or {})["expected"])
    yield Case(prompt, gold, "gold")
    full = [place for place, calls in enumerate(gold) if calls]
    place = rng.choice(full)
    at = rng.randrange(len(gold[place]))
    for mutation in MUTATIONS:
        turns = copy.deepcopy(gold)
        call = turns[place][at]
        if mutation == "a call less":
            del turns[place][at]
        elif mutation == "a call twice":
            turns[place].insert(at, copy.deepcopy(call))
        elif mutation == "no call in a turn":
            turns[place] = []
        elif mutation == "a call too early" and place:
            turns[place - 1].append(turns[place].pop(at))
            if not is_offered(prompt, call["name"], place - 1):
                mutation = NOT_OFFERED
        elif mutation == "a call that reads":
            reads = {"ls", "pwd", "get_user_id", "view_messages_sent", "displayCarStatus"}
            known = [t["function"]["name"] for t in prompt.tools if t["function"]["name"] in reads]
            if not known:
                continue
            turns[place].append({"name": known[0], "arguments": {}})
        elif mutation == "other order":
            rng.shuffle(turns[place])
        elif not change(call["arguments"], mutation, rng):
            continue
        yield Case(prompt, turns, mutation)


def is_offered(prompt: Prompt, name: str, turn: int) -> bool:
    later = (prompt.environment or {})["turns"]
    new = [tool for item in later[:turn] if isinstance(item, dict) for tool in item["tools"]]
    return name in {tool["function"]["name"] for tool in (*prompt.tools, *new)}


def change(arguments: dict[str, Any], mutation: str, rng: random.Random) -> bool:
    """Change one argument. Returns whether there was one to change."""
    texts = [key for key, value in arguments.items() if isinstance(value, str)]
    numbers = [
        key
        for key, value in arguments.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    if mutation == "a text cut" and texts:
        key = rng.choice(texts)
        arguments[key] = arguments[key][:-1]
    elif mutation == "another argument" and (numbers or texts):
        key = rng.choice(numbers or texts)
        arguments[key] = arguments[key] + (1 if numbers else "x")
    else:
        return False
    return True


def judge_all(made: list[Case]) -> list[tuple[bool, str, float]]:
    """Judge each case in a process of its own, as episodes are played."""
    found: list[tuple[bool, str, float]] = []
    Services.prepare(list(BFCL_SERVICES))
    for case in made:
        reading, writing = os.pipe()
        if child := os.fork():
            os.close(writing)
            with open(reading, encoding="utf-8") as stream:
                found.append(tuple(json.loads(stream.read())))
            os.waitpid(child, 0)
            continue
        started = time.process_time()
        said = judge(case)
        os.write(writing, json.dumps([*said, time.process_time() - started]).encode())
        os._exit(0)
    return found


def judge(case: Case) -> tuple[bool, str]:
    """Play the calls in the environment; whether the reward is 1, and the outcome."""
    options = dict(case.prompt.environment or {})
    made = Services(**{key: value for key, value in options.items() if key != "kind"})
    made.reset(case.prompt, 0)
    seen: Observation | None = None
    for calls in case.turns:
        for call in calls:
            seen = made.step(action([{"id": "x", "type": "function", "function": call}]))
        seen = made.step(action([]))
        if seen.done:
            break
    assert seen is not None
    return seen.reward == 1.0, str(seen.state.get("outcome"))


def action(calls: list[Any]) -> Action:
    return Action(role="assistant", content="", tool_calls=calls, malformed=[])


def source(call: dict[str, Any]) -> str:
    """The call as the source text that BFCL's checker evaluates."""
    return f"{call['name']}({', '.join(f'{k}={v!r}' for k, v in call['arguments'].items())})"


def judge_as_bfcl(made: list[Case], rows: dict[str, Any]) -> list[tuple[bool | None, str, float]]:
    lines = []
    for case in made:
        row = rows[case.prompt.meta["id"]]
        calls = [[[source(call)] for call in turn] for turn in case.turns]
        entry = {key: row[key] for key in ("initial_config", "involved_classes", "id")}
        lines.append(json.dumps({"calls": calls, "answer": row["answer"], "entry": entry,
                                 "category": case.prompt.meta["category"]}))  # fmt: skip
    return ask_checker(lines, CHECKER)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--items", type=int, default=200, help="questions, evenly spaced")
    parser.add_argument("--show", type=int, default=0, help="disagreements to print")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    rows = {}
    for category in MULTI_TURN:
        answers = find_data() / "possible_answer" / f"BFCL_v4_{category}.json"
        truth = {row["id"]: row["ground_truth"] for _, row in read_rows(answers)}
        for _, row in read_rows(find_data() / f"BFCL_v4_{category}.json"):
            rows[row["id"]] = row | {"answer": truth.get(row["id"])}
    prompts = [row for row in Bfcl(categories=MULTI_TURN).rows() if isinstance(row, Prompt)]
    step = max(1, len(prompts) // options.items)
    made = [case for prompt in prompts[::step] for case in cases(prompt, rng)]
    ours = judge_all(made)
    seconds = sum(took for *_, took in ours)
    theirs = judge_as_bfcl(made, rows)
    agreed, total, raised = Counter[str](), Counter[str](), Counter[str]()
    rights = Counter[str]()
    shown = 0
    for case, (right, outcome, _), (valid, why, _) in zip(made, ours, theirs, strict=True):
        total[case.mutation] += 1
        rights[case.mutation] += right
        if valid is None:
            raised[why[:90]] += 1
        agreed[case.mutation] += right == bool(valid)
        if right != bool(valid) and shown < options.show:
            shown += 1
            print(f"{case.prompt.meta['id']} {case.mutation}: ours {right} ({outcome}); "
                  f"BFCL's {valid} ({why})")  # fmt: skip
    for mutation, count in total.items():
        print(f"{mutation:20} {agreed[mutation]:5} of {count:5} agree; ours accepts "
              f"{rights[mutation]}")  # fmt: skip
    for why, count in raised.items():
        print(f"BFCL's checker raises {count} times: {why}")
    spent = sum(took for *_, took in theirs)
    print(
        f"verdicts per CPU second: ours {len(made) / seconds:.0f}, BFCL's {len(made) / spent:.0f}"
    )
    counted = [mutation for mutation in total if mutation != NOT_OFFERED]
    share = sum(agreed[one] for one in counted) / sum(total[one] for one in counted)
    for name, value, target in (
        ("multi_turn_agrees_with_bfcl", share, TARGET),
        ("multi_turn_accepts_gold", rights["gold"] / total["gold"], 1.0),
    ):
        print(json.dumps({"name": name, "value": round(value, 4), "target": target,
                          "holds": value >= target}))  # fmt: skip


if __name__ == "__main__":
    main()
