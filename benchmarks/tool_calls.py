"""BFCL's possible answers: our verifier `tool_call` against BFCL's own checker, in the same run.

    pip install --no-deps bfcl-eval
    python benchmarks/tool_calls.py [--seed N] [--variants N] [--show N]

For each question, a gold call is drawn from the accepted values, and seeded mutations of it are
made, each labelled by what was done. Both judge the same calls: ours reads them from a response, in
three formats in turn; BFCL's checker, in a process of its own, gets them already parsed. Java and
JavaScript values are written as source text for it, as its prompts ask. There, mutations of a type
are left out: source text has no types that differ from the value's.

Categories without expected calls (irrelevance, relevance) have no checker of BFCL's to compare
with: ours is compared with the label there.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from factory.core.nouns import Prompt
from factory.prompts.sets.bfcl import Bfcl, find_data, read_rows
from filters.verify.verifiers import Item, Verifiers

TARGET = 0.995
SOURCE_TEXT = {"simple_java": "Java", "simple_javascript": "JavaScript"}
Arguments = dict[str, Any]
Calls = list[tuple[str, Arguments]]

CHECKER = """
import json, sys, types
from collections import defaultdict
stub = types.ModuleType("bfcl_eval.constants.model_config")
plain = types.SimpleNamespace(underscore_to_dot=False)
stub.MODEL_CONFIG_MAPPING = defaultdict(lambda: plain)
sys.modules[stub.__name__] = stub
import time
from bfcl_eval.constants.enums import Language
from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker
for line in sys.stdin:
    item = json.loads(line)
    started = time.perf_counter()
    try:
        found = ast_checker(item["functions"], item["calls"], item["answer"],
                            Language[item["language"].upper()], item["category"], "model")
        said = found["valid"], str(found.get("error_type")) + " " + str(found["error"])[:200]
    except Exception as error:
        said = None, f"{type(error).__name__}: {error}"
    print(json.dumps([*said, time.perf_counter() - started]), flush=True)
"""


class Case(NamedTuple):
    """Calls, what was done to them, and whether that leaves them right (None: it depends)."""

    prompt: Prompt
    calls: Calls
    mutation: str
    right: bool | None


def draw(call: dict[str, Any], rng: random.Random) -> Arguments:
    """Arguments that are accepted: the first value of each, optional ones at times left out."""
    optional = call.get("optional", [])
    return {
        key: plain(values[0], rng)
        for key, values in call["accepted"].items()
        if values and not (key in optional and rng.random() < 0.5)
    }


def plain(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict) and "$object" in value:
        optional = value.get("$optional", [])
        return {
            key: accepted[0]
            for key, accepted in value["$object"].items()
            if accepted and accepted[0] != "" and not (key in optional and rng.random() < 0.5)
        }
    return [plain(item, rng) for item in value] if isinstance(value, list) else value


def cases(prompt: Prompt, rng: random.Random, variants: int) -> Iterator[Case]:
    wanted = prompt.verifier["calls"]
    typed = prompt.meta["category"] not in SOURCE_TEXT
    gold = [(call["name"], draw(call, rng)) for call in wanted]
    yield Case(prompt, gold, "gold", True)
    made = list(mutations(prompt, gold, rng, typed))
    rng.shuffle(made)
    yield from made[:variants]


def mutations(prompt: Prompt, gold: Calls, rng: random.Random, typed: bool) -> Iterator[Case]:
    """What a model may do instead. Values are changed in one argument of one call."""
    wanted = prompt.verifier["calls"]
    tools = {tool["function"]["name"]: tool["function"] for tool in prompt.verifier["tools"]}

    def case(mutation: str, right: bool | None, at: int, call: tuple[str, Arguments]) -> Case:
        return Case(prompt, [*gold[:at], call, *gold[at + 1 :]], mutation, right)

    at = rng.randrange(len(gold))
    name, arguments = gold[at]
    accepted = wanted[at]["accepted"]
    if len(gold) > 1:
        yield Case(prompt, rng.sample(gold, len(gold)), "other order", True)
        yield Case(prompt, gold[:-1], "a call less", False)
    yield Case(prompt, [*gold, gold[at]], "a call twice", False)
    yield Case(prompt, [], "no call", False)
    yield case("another name", False, at, (name + "_v2", arguments))
    others = [other for other in tools if other != name]
    if others:
        yield case("another tool", False, at, (rng.choice(others), arguments))
    yield case("an invented argument", False, at, (name, arguments | {"verbose_mode": True}))
    unasked = set(tools[name]["parameters"]["properties"]) - set(accepted)
    if unasked:
        extra = sorted(unasked)[0]
        yield case("an unasked argument", None, at, (name, arguments | {extra: "x"}))
    if not arguments:
        return
    key = rng.choice(sorted(arguments))
    rest = {other: value for other, value in arguments.items() if other != key}
    yield case("an argument less", None, at, (name, rest))
    for value in accepted[key][1:]:
        yield case("another accepted value", True, at, (name, rest | {key: plain(value, rng)}))
        break
    for mutation, changed in changes(arguments[key], rng, typed):
        yield case(mutation, None, at, (name, rest | {key: changed}))


def changes(value: Any, rng: random.Random, typed: bool) -> Iterator[tuple[str, Any]]:
    """Values next to a value."""
    match value:
        case bool():
            yield "bool flipped", not value
            if typed:
                yield "bool as text", str(value)
                yield "bool as number", int(value)
        case int():
            yield "number off by one", value + 1
            yield "number negated", -value
            if typed:
                yield "integer as float", float(value)
                yield "number as text", str(value)
        case float():
            yield "number off by one", value + 1
            if typed:
                yield "number as text", str(value)
                if value.is_integer():
                    yield "float as integer", int(value)
        case str():
            yield "text in capitals", value.upper()
            yield "text with spaces", value.replace(" ", "  ") + " "
            yield "text with a word more", value + " please"
            yield "text cut", value[: len(value) // 2]
            yield "empty text", ""
            if typed:
                yield "text in a list", [value]
        case list():
            yield "list reversed", value[::-1]
            yield "list cut", value[:-1]
            yield "list doubled", value * 2
            yield "empty list", []
            if typed:
                yield "list as text", json.dumps(value)
        case dict():
            yield "object with a member more", value | {"verbose_mode": True}
            if value:
                member = rng.choice(sorted(value))
                yield "object with a member less", {k: v for k, v in value.items() if k != member}
                for mutation, changed in changes(value[member], rng, typed):
                    yield f"member: {mutation}", value | {member: changed}


def write(calls: Calls, turn: int) -> str:
    """A response with these calls, in one of three formats."""
    objects = [{"name": name, "arguments": arguments} for name, arguments in calls]
    if not calls:
        return "None of the functions can be used here."
    if turn % 3 == 0:
        return "\n".join(f"<tool_call>\n{json.dumps(item)}\n</tool_call>" for item in objects)
    if turn % 3 == 1:
        functions = [
            {"function": {"name": name, "arguments": json.dumps(arguments)}}
            for name, arguments in calls
        ]
        return json.dumps({"role": "assistant", "content": None, "tool_calls": functions})
    return json.dumps(objects)


def source_text(value: Any, kind: str, items: str, language: str) -> str:
    """A JSON value as Java's or JavaScript's source text, as BFCL's converter reads it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        suffix = {"long": "L", "float": "f", "Bigint": "n"}.get(kind, "")
        return f"{value}{suffix if language == 'Java' or kind == 'Bigint' else ''}"
    quoted = [
        f'"{item}"' if isinstance(item, str) else source_text(item, items, "", language)
        for item in (value if isinstance(value, list) else value.values())
    ]
    if isinstance(value, list):
        if language == "JavaScript":
            return f"[{', '.join(quoted)}]"
        written = ", ".join(quoted)
        if kind == "ArrayList":
            return f"new ArrayList<>(Arrays.asList({written}))" if value else "new ArrayList<>()"
        if items == "String":  # its converter keeps the quotation marks of an array's texts
            written = ", ".join(map(str, value))
        return f"new {items or 'Object'}[]{{{written}}}"
    if language == "JavaScript":
        return "{" + ", ".join(f'"{k}": {v}' for k, v in zip(value, quoted, strict=True)) + "}"
    puts = " ".join(f'put("{k}", {v});' for k, v in zip(value, quoted, strict=True))
    return f"new HashMap<String, Object>() {{{{ {puts} }}}}"


def for_checker(case: Case, row: dict[str, Any]) -> str:
    category = case.prompt.meta["category"]
    language = SOURCE_TEXT.get(category)
    calls = []
    for name, arguments in case.calls:
        if language:
            found = [f for f in row["function"] if f["name"] == name]
            described = found[0]["parameters"]["properties"] if found else {}
            arguments = {
                key: source_text(
                    value,
                    described.get(key, {}).get("type", ""),
                    (described.get(key, {}).get("items") or {}).get("type", ""),
                    language,
                )
                for key, value in arguments.items()
            }
        calls.append({name: arguments})
    return json.dumps(
        {
            "functions": row["function"],
            "calls": calls,
            "answer": row["answer"],
            "language": language or "Python",
            "category": category,
        }
    )


def ask_checker(lines: list[str], program: str = CHECKER) -> list[tuple[bool | None, str, float]]:
    """What BFCL's checker says in a process of its own; None where it raises."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"BFCL's checker failed: {done.stderr.strip().splitlines()[-1]}")
    return [tuple(json.loads(line)) for line in done.stdout.splitlines() if line[:1] == "["]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variants", type=int, default=8, help="mutations of each question")
    parser.add_argument("--show", type=int, default=0, help="disagreements to print, per kind")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    rows = {}
    for category in Bfcl().categories:
        answers = find_data() / "possible_answer" / f"BFCL_v4_{category}.json"
        truth = {row["id"]: row["ground_truth"] for _, row in read_rows(answers)}
        for _, row in read_rows(find_data() / f"BFCL_v4_{category}.json"):
            rows[row["id"]] = row | {"answer": truth.get(row["id"])}
    prompts = [prompt for prompt in Bfcl().rows() if isinstance(prompt, Prompt)]
    with Verifiers() as verifiers:
        bad = verifiers.check([prompt.verifier for prompt in prompts])
        broken = [
            prompt.meta["id"]
            for prompt, problem in zip(prompts, bad, strict=True)
            if problem is not None
        ]
        print(f"{len(prompts)} prompts; references that cannot be used: {', '.join(broken)}")
        sound = [prompt for prompt, problem in zip(prompts, bad, strict=True) if problem is None]
        with_calls = [prompt for prompt in sound if prompt.verifier["calls"] not in ([], "any")]
        made = [case for prompt in with_calls for case in cases(prompt, rng, options.variants)]
        items = [
            Item(case.prompt.verifier, write(case.calls, turn)) for turn, case in enumerate(made)
        ]
        started = time.process_time()
        ours = verifiers.verify(items)
        seconds = time.process_time() - started
        theirs = ask_checker([for_checker(case, rows[case.prompt.meta["id"]]) for case in made])
        labelled = irrelevance(verifiers, sound, rows)
    agreed, total = Counter[str](), Counter[str]()
    wrong_labels, raised = Counter[str](), Counter[str]()
    apart: dict[tuple[str, str, str], list[tuple[Case, Any, Any]]] = defaultdict(list)
    for case, mine, (valid, why, _) in zip(made, ours, theirs, strict=True):
        category = case.prompt.meta["category"]
        right = mine.state == "correct"
        if case.right is not None and right != case.right:
            wrong_labels[case.mutation] += 1
        if valid is None:
            raised[f"{category}: {why}"[:90]] += 1
            continue
        total[category] += 1
        agreed[category] += right == valid
        if right != valid:
            kind = ("ours accepts" if right else "BFCL accepts", case.mutation, category)
            apart[kind].append((case, mine, why))
    for category, count in total.items():
        share = agreed[category] / count
        print(f"{category:24} {agreed[category]:6} of {count:6} agree: {share:.4f}")
    for what, count in raised.items():
        print(f"BFCL's checker raises: {count} x {what}")
    print(f"ours against the label: {dict(wrong_labels)}")
    for (who, mutation, category), found in sorted(apart.items(), key=lambda item: -len(item[1])):
        print(f"{len(found):5} {who}: {mutation} ({category})")
        for case, mine, why in found[: options.show]:
            print(f"      {case.prompt.meta['id']}: {str(case.calls)[:300]}")
            print(f"      answer: {str(rows[case.prompt.meta['id']]['answer'])[:300]}")
            print(f"      ours: {mine.state} {mine.detail}; BFCL's: {why}")
    spent = sum(took for *_, took in theirs)
    print(f"verdicts per CPU second: ours {len(items) / seconds:.0f} (with reading the response), "
          f"BFCL's {len(theirs) / spent:.0f} (calls already parsed)")  # fmt: skip
    share = sum(agreed.values()) / sum(total.values())
    gold = [right for case, right in zip(made, ours, strict=True) if case.mutation == "gold"]
    accepted = sum(verdict.state == "correct" for verdict in gold) / len(gold)
    worst = min(agreed[category] / count for category, count in total.items())
    for name, value, target in (
        ("tool_call_agrees_with_bfcl", share, TARGET),
        ("tool_call_agrees_with_bfcl_in_the_worst_category", worst, TARGET),
        ("tool_call_accepts_gold", accepted, TARGET),
        ("tool_call_right_without_expected_calls", labelled, 1.0),
    ):
        holds = value >= target
        print(json.dumps({"name": name, "value": round(value, 4), "target": target,
                          "holds": holds}))  # fmt: skip


def irrelevance(verifiers: Verifiers, prompts: list[Prompt], rows: dict[str, Any]) -> float:
    """The share of right verdicts where no call, or any, is right: one of each per question."""
    items, labels = [], []
    for prompt in prompts:
        calls = prompt.verifier["calls"]
        if calls not in ([], "any"):
            continue
        tool = prompt.verifier["tools"][0]["function"]
        arguments = {
            name: example(tool["parameters"]["properties"][name])
            for name in tool["parameters"].get("required", [])
        }
        items += [
            Item(prompt.verifier, write([], 0)),
            Item(prompt.verifier, write([(tool["name"], arguments)], len(items))),
        ]
        labels += [calls == [], calls == "any"]
    states = [found.state == "correct" for found in verifiers.verify(items)]
    right = sum(state == label for state, label in zip(states, labels, strict=True))
    print(f"irrelevance and relevance: {right} of {len(labels)} right by the label")
    return right / len(labels)


def example(schema: dict[str, Any]) -> Any:
    """A value that fits a schema."""
    if schema.get("enum"):
        return schema["enum"][0]
    match schema.get("type"):
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case "array":
            return [example(schema.get("items", {}))]
        case "object":
            described = schema.get("properties", {})
            return {name: example(described[name]) for name in schema.get("required", [])}
    return "x"


if __name__ == "__main__":
    main()
