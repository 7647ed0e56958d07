"""Searches: the policies on scripted trees, the engine over a scripted one, a killed run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from factory.build.build import build
from factory.core.errors import EngineError, RecipeError
from factory.core.nouns import Failure, Message, Prompt, Sample
from factory.evaluation.evaluate import evaluate
from factory.prompts.templates import Prompting
from factory.recipe.build import load_recipe
from factory.recipe.engine import EngineSpec
from factory.recipe.engines.options import Engine, Model
from factory.recipe.evaluation import load_eval
from factory.recipe.sampling import Sampling
from factory.recipe.search import Search
from factory.report.explain import explain
from factory.sampling.engine import Request, Worker, open_engine
from factory.sampling.search.beam import search_beam
from factory.sampling.search.engine import SearchEngine
from factory.sampling.search.node_log import FILE, NodeLog, read_search_log
from factory.sampling.search.puct import search_tree
from factory.sampling.search.tree import Draw, End, Node, Plan, Tree, worth
from factory.sampling.search.values import Valuer
from tests.sampling.stepper import digits
from tests.train.tiny import write_model

pytestmark = pytest.mark.usefixtures("trusted_code")

STEPPER = Path(__file__).with_name("stepper.py")
SCORER = f"{STEPPER}:Good"
PROMPT = Prompt("test", "math", (Message(role="user", content="4"),))

Draws = Callable[[Tree, Draw, int], tuple[str, End]]


def options(**keys: Any) -> Search:
    return Search.model_validate({"value": {"class": SCORER}, **keys})


def grow(
    plan: Callable[[Tree, Search, Valuer], Plan], wanted: Search, draw: Draws
) -> tuple[Tree, Node, list[list[Draw]]]:
    """Run a policy on draws made here. Returns the tree, the answer and the rounds."""
    tree = Tree()

    def judge(prompt: Prompt, texts: Any) -> list[float | None]:
        return [sum(digits(text)) / 100 for text in texts]

    valuer = Valuer(
        tree, PROMPT, judge, wanted.value.rollouts, lambda node: (False, None), lambda node: None
    )
    running = plan(tree, wanted, valuer)
    rounds: list[list[Draw]] = []
    nodes: list[Node] | None = None
    while True:
        try:
            draws = next(running) if nodes is None else running.send(nodes)
        except StopIteration as ended:
            answer: Node = ended.value
            return tree, answer, rounds
        rounds.append(draws)
        nodes = []
        for place, one in enumerate(draws):
            text, end = draw(tree, one, place)
            number = len(tree.nodes) + place
            nodes.append(Node(number, one.parent, text, 1, end, one.whole))
        tree.add(nodes)


def by_place(tree: Tree, draw: Draw, place: int) -> tuple[str, End]:
    """The n-th draw of a round writes the digit n; a turn has three steps."""
    text = f"{place % 10};"
    return text, "stop" if draw.whole or tree.depth(draw.parent) == 2 else "step"


def test_a_beam_keeps_the_best_of_all_prefixes() -> None:
    tree, answer, rounds = grow(search_beam, options(beams=2, width=3), by_place)
    assert [len(draws) for draws in rounds] == [6, 6, 6]
    assert {tree.nodes[draw.parent].text for draw in rounds[1]} == {"5;", "4;"}
    assert {tree.text(draw.parent) for draw in rounds[2]} == {"4;5;", "4;4;"}  # 5 drew 0 to 2
    assert [node.text for node in tree.path(answer.number)[1:]] == ["4;", "4;", "5;"]


def test_diverse_beams_do_not_compete() -> None:
    tree, answer, rounds = grow(search_beam, options(beams=2, width=3, diverse=True), by_place)
    assert {tree.nodes[draw.parent].text for draw in rounds[1]} == {"2;", "5;"}
    firsts = {tree.path(draw.parent)[1].text for draw in rounds[2]}
    assert firsts == {"2;", "5;"}  # both subtrees are alive at the end
    assert worth(answer) == max(worth(node) for node in tree.nodes if node.end == "stop")


def test_a_complete_turn_gives_its_slot_up_and_one_cut_off_is_lost() -> None:
    def draw(tree: Tree, one: Draw, place: int) -> tuple[str, End]:
        ends: list[End] = ["step", "stop", "length", "step"]
        return f"{place};", ends[place % 4]

    tree, answer, rounds = grow(search_beam, options(beams=2, width=2, max_steps=4), draw)
    assert answer.end == "stop"
    assert all(tree.nodes[draw.parent].end == "step" for draws in rounds for draw in draws)


def test_a_search_that_finds_no_end_draws_the_rest_of_its_best_prefix() -> None:
    def draw(tree: Tree, one: Draw, place: int) -> tuple[str, End]:
        return f"{place};", "stop" if one.whole else "step"

    wanted = options(beams=2, width=2, max_steps=9, tokens=5)
    tree, answer, rounds = grow(search_beam, wanted, draw)
    assert [len(draws) for draws in rounds] == [4, 4, 1]  # 8 tokens, then the rest
    (last,) = rounds[-1]
    assert last.whole
    assert tree.nodes[last.parent].text == "3;"
    assert answer.parent == last.parent


def test_a_tree_grows_by_expansions_and_ends_when_nothing_is_left() -> None:
    tree, answer, rounds = grow(search_tree, options(expansions=5, width=2), by_place)
    assert [len(draws) for draws in rounds[:5]] == [2] * 5
    assert len(rounds) <= 6
    # Two steps of two continuations each and then the end: 1 + 2 + 4 prefixes exist.
    tree, answer, rounds = grow(search_tree, options(expansions=99, width=2), by_place)
    assert len(rounds) == 7
    assert [node.text for node in tree.path(answer.number)[1:]] == ["1;", "1;", "1;"]


def test_equal_continuations_are_one_with_a_higher_prior() -> None:
    def same(tree: Tree, draw: Draw, place: int) -> tuple[str, End]:
        return "1;" if place < 3 else "2;", "stop" if tree.depth(draw.parent) == 1 else "step"

    tree, _, rounds = grow(search_tree, options(expansions=9, width=4), same)
    assert len(rounds) == 3  # the root, and two distinct prefixes
    assert len({tree.text(draw.parent) for draws in rounds[1:] for draw in draws}) == 2


def test_exploration_decides_between_good_and_new_prefixes() -> None:
    def expanded(exploration: float) -> int:
        """Return how many different first steps were continued."""
        wanted = options(expansions=8, width=3, exploration=exploration, max_steps=50)

        def draw(tree: Tree, one: Draw, place: int) -> tuple[str, End]:
            return f"{9 - 4 * place};", "step"

        tree, _, rounds = grow(search_tree, wanted, draw)
        paths = [tree.path(draws[0].parent) for draws in rounds[1:]]
        return len({path[1].number for path in paths if len(path) > 1})

    assert expanded(0.0) == 1
    assert expanded(50.0) == 3


def test_rollouts_give_the_mean_and_may_be_the_answer() -> None:
    def draw(tree: Tree, one: Draw, place: int) -> tuple[str, End]:
        return f"{place};", "stop" if one.whole else "step"

    wanted = options(expansions=1, width=2, value={"class": SCORER, "rollouts": 2})
    tree, answer, rounds = grow(search_tree, wanted, draw)
    assert rounds == [
        [Draw(0), Draw(0)],
        [Draw(1, True), Draw(1, True), Draw(2, True), Draw(2, True)],
    ]
    assert [tree.nodes[number].value for number in (1, 2)] == [0.005, 0.035]
    assert (answer.whole, answer.text) == (True, "3;")


ends = st.sampled_from(["step", "step", "step", "stop", "length"])


@given(
    st.lists(st.tuples(st.integers(0, 9), ends), min_size=1, max_size=40),
    st.sampled_from([search_beam, search_tree]),
    st.integers(2, 4),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(0, 2),
    st.booleans(),
)
def test_whatever_is_drawn(
    script: list[tuple[int, End]],
    plan: Any,
    width: int,
    beams: int,
    steps: int,
    rollouts: int,
    diverse: bool,
) -> None:
    def draw(tree: Tree, one: Draw, place: int) -> tuple[str, End]:
        digit, end = script[(len(tree.nodes) + place) % len(script)]
        return f"{digit};", ("stop" if end == "step" else end) if one.whole else end

    wanted = options(
        width=width,
        beams=beams,
        diverse=diverse,
        max_steps=steps,
        expansions=4,
        value={"class": SCORER, "rollouts": rollouts},
    )
    tree, answer, rounds = grow(plan, wanted, draw)
    again = grow(plan, wanted, draw)
    assert (again[0].nodes, again[1], again[2]) == (tree.nodes, answer, rounds)
    assert tree.spent == len(tree.nodes) - 1 == sum(map(len, rounds))
    for number, node in enumerate(tree.nodes):
        assert node.number == number
        assert node.number == 0 or node.parent < number
        assert node.number == 0 or tree.nodes[node.parent].end == "step"
        assert tree.depth(number) <= steps + bool(rollouts)
    complete = [node for node in tree.nodes if node.end == "stop"]
    if complete:
        assert answer in complete
        assert worth(answer) == max(map(worth, complete))
    most = wanted.most_tokens("beam" if plan is search_beam else "tree", 1)
    assert tree.spent <= most
    if plan is search_tree:
        assert sum(map(len, rounds)) <= 4 * width * (1 + rollouts) + 1


class Script:
    """An engine that answers each request by a function; the last ones first."""

    capacity = 4

    def __init__(self, write: Callable[[Request, str], str | Failure]) -> None:
        self.write = write
        self.asked: list[Request] = []
        self._waiting: deque[Request] = deque()
        self._aborted: set[str] = set()

    def submit(self, request: Request) -> None:
        self.asked.append(request)
        self._waiting.append(request)

    def completed(self) -> Iterator[Sample | Failure]:
        for _ in range(min(3, len(self._waiting))):
            request = self._waiting.pop()
            start = request.prompt.continues
            before = "" if start is None else start["text"]
            found = self.write(request, before)
            if isinstance(found, Failure):
                yield found
                continue
            stops = [found.find(stop) + len(stop) for stop in request.stop if stop in found]
            text = found[: min(stops)] if stops else found
            most = request.max_tokens or 0
            reason = "length" if len(text) > most else "stop"
            reason = "abort" if request.sample_id in self._aborted else reason
            yield Sample(
                request.prompt.id,
                request.index,
                before + text[:most],
                "asked",
                reason,  # type: ignore[arg-type]
                len(text[:most]),
                5 + len(before),
                "m",
                "fp",
                1,
            )

    def abort(self, sample_ids: Iterable[str]) -> None:
        self._aborted |= set(sample_ids)

    def workers(self) -> list[Worker]:
        return []

    def close(self) -> None:
        self._waiting.clear()


def spec(sampling: dict[str, Any], **search: Any) -> EngineSpec:
    settings = {"policy": "beam", "n": 1, "temperature": 1.0, "max_tokens": 200, **sampling}
    settings["search"] = {"value": {"class": SCORER}, "rule": "equations", "width": 2, **search}
    if settings["policy"] == "beam":
        settings["search"].setdefault("beams", 1)
    return EngineSpec(
        Model(id="demo"),
        Engine(),
        Prompting(template="few_shot"),
        Sampling.model_validate(settings),
    )


def play(
    folder: Path, script: Script, wanted: EngineSpec, requests: int = 1, abort: bool = False
) -> list[Sample | Failure]:
    log = NodeLog(folder, ())
    engine = SearchEngine(script, wanted, log)
    found: list[Sample | Failure] = []
    try:
        asked = [Request(PROMPT, index) for index in range(requests)]
        for request in asked:
            engine.submit(request)
        if abort:
            engine.abort([asked[0].sample_id, "unknown-0"])
        while len(found) < requests:
            found += engine.completed()
    finally:
        engine.close()
    return found


def numbered(request: Request, before: str) -> str:
    """Write a step with the number of the request, in two pieces, then an answer."""
    if before.endswith("so;"):
        return f"{request.index % 10};more"
    return "</think>\n\nIt is\n7; or 8." if before else "<think>so;"


def test_a_stop_string_that_ends_no_step_ends_nothing(tmp_path: Path) -> None:
    """`so;` has no digit: by the rule `equations` the step goes on. The answer has no steps."""
    script = Script(numbered)
    (sample,) = play(tmp_path, script, spec({}))
    assert isinstance(sample, Sample)
    assert sample.text.startswith("<think>so;")
    assert sample.text.endswith("</think>\n\nIt is\n7; or 8.")
    assert sample.finish_reason == "stop"
    nodes = [record["node"] for record in read_search_log(tmp_path) if record and "node" in record]
    assert sample.n_tokens == sum(node["n_tokens"] for node in nodes)
    assert all(node["end"] == "step" for node in nodes if node["parent"] == 0)
    texts = {node["number"]: node["text"] for node in nodes if node["parent"] == 0}
    assert sorted(texts.values()) == ["<think>so;1;", "<think>so;2;"]
    records = [record for record in read_search_log(tmp_path) if record and "node" in record]
    assert {record["cut"] for record in records} == {0, len("<think>so;1;")}


def test_a_step_that_is_too_long_is_cut_and_a_turn_that_is_too_long_is_lost(tmp_path: Path) -> None:
    script = Script(lambda request, before: "x" * 500)
    (sample,) = play(tmp_path, script, spec({"max_tokens": 50}, step_tokens=20))
    assert isinstance(sample, Sample)
    assert sample.finish_reason == "length"
    assert all((request.max_tokens or 0) > 0 for request in script.asked)
    nodes = [record["node"] for record in read_search_log(tmp_path) if record and "node" in record]
    assert {(node["n_tokens"], node["end"]) for node in nodes} == {(20, "step"), (10, "length")}


def test_a_recipes_own_stop_string_may_begin_in_the_step_before(tmp_path: Path) -> None:
    def write(request: Request, before: str) -> str:
        return "***\n\nQuestion: more" if before else "<think>1</think>2\n"

    wanted = spec({}, rule="lines")
    (sample,) = play(tmp_path, Script(write), wanted)
    assert isinstance(sample, Sample)
    assert (sample.text, sample.finish_reason) == ("<think>1</think>2", "stop")


def test_searches_of_one_prompt_never_share_an_id(tmp_path: Path) -> None:
    script = Script(numbered)
    found = play(tmp_path, script, spec({"policy": "tree"}, expansions=4), requests=3)
    assert sorted(outcome.index for outcome in found) == [0, 1, 2]
    first = [request.sample_id for request in script.asked if request.prompt.continues is None]
    assert len(first) == len(set(first)) == 6


def test_a_failure_ends_one_search_and_what_was_drawn_stays(tmp_path: Path) -> None:
    def write(request: Request, before: str) -> str | Failure:
        if before.count(";") == 2 and request.index < 1 << 18:
            return Failure(request.prompt.id, request.index, "engine", "gone", retryable=True)
        return numbered(request, before)

    found = play(tmp_path, Script(write), spec({}), requests=2)
    failed, sample = sorted(found, key=lambda outcome: isinstance(outcome, Sample))
    assert isinstance(failed, Failure)
    assert isinstance(sample, Sample)
    assert (failed.prompt_id, failed.index, failed.retryable) == (PROMPT.id, 0, True)
    script = Script(numbered)
    (sample,) = play(tmp_path, script, spec({}))
    assert all(request.prompt.continues is not None for request in script.asked)  # no root again


def test_an_aborted_search_comes_back_with_all_its_tokens(tmp_path: Path) -> None:
    (sample,) = play(tmp_path, Script(numbered), spec({}), abort=True)
    assert isinstance(sample, Sample)
    assert sample.finish_reason == "abort"
    assert sample.n_tokens > 0


def test_an_engine_that_does_not_continue_is_named(tmp_path: Path) -> None:
    class Forgetful(Script):
        def completed(self) -> Iterator[Sample | Failure]:
            for outcome in super().completed():
                if isinstance(outcome, Sample):
                    object.__setattr__(outcome, "text", outcome.text[-2:])
                yield outcome

    with pytest.raises(EngineError, match="does not continue a text"):
        play(tmp_path, Forgetful(numbered), spec({}))


RECIPE = """
name: search
model: demo
sources: [{{kind: files, path: {rows}, language: en, verifier: {{kind: math}}}}]
prompting: {{template: few_shot}}
engine: {{class: "{stepper}:Stepper"}}
sampling: {{policy: {policy}, n: 2, temperature: 1.0, max_tokens: 100, search: {search}}}
filters: {{format: {{}}, correctness: {{}}}}
corpus: {{min_rows: 0}}
"""
TREE = f"{{rule: equations, width: 3, expansions: 6, value: {{class: '{SCORER}'}}}}"
ROLLED = "{rule: equations, width: 2, beams: 2, value: {verifier: true, rollouts: 2}}"


def write_recipe(folder: Path, policy: str, search: str, prompts: int = 4) -> Path:
    rows = folder / "rows.jsonl"
    lines = [json.dumps({"question": str(n + 4), "answer": "20"}) for n in range(prompts)]
    rows.write_text("\n".join(lines))
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        RECIPE.format(rows=rows, stepper=STEPPER, policy=policy, search=search), encoding="utf-8"
    )
    return recipe


def run(recipe: Path, folder: Path) -> pl.DataFrame:
    build(load_recipe(recipe), folder, Console(file=StringIO()))
    parts = [pl.read_parquet(part) for part in (folder / "samples").glob("part-*.parquet")]
    return pl.concat(parts).sort("prompt_id", "index")


def read_trees(folder: Path) -> dict[tuple[str, int], dict[int, Any]]:
    """Return the nodes and values of every search by number."""
    trees: dict[tuple[str, int], dict[int, Any]] = {}
    for record in read_search_log(folder / "samples"):
        assert record is not None
        tree = trees.setdefault((record["prompt_id"], record["index"]), {})
        if "node" in record:
            tree[record["node"]["number"]] = record["node"]
        else:
            tree[-record["number"]] = record["value"]
    return trees


def test_a_run_of_searches_is_an_ordinary_run(tmp_path: Path) -> None:
    samples = run(write_recipe(tmp_path, "beam", ROLLED), tmp_path / "run")
    assert samples.height == 8
    trees = read_trees(tmp_path / "run")
    for prompt_id, index, text, n_tokens in samples.select(
        "prompt_id", "index", "text", "n_tokens"
    ).iter_rows():
        nodes = [node for key, node in trees[prompt_id, index].items() if key > 0]
        assert n_tokens == sum(len(node["text"]) for node in nodes)
        assert text.startswith("<think>")
        assert text.endswith("}")
    recipe = load_recipe(tmp_path / "recipe.yaml")
    row = samples.row(0, named=True)
    lines = explain(recipe.filters, tmp_path / "run", f"{row['prompt_id']}-{row['index']}")
    place = next(number for number, line in enumerate(lines) if line.startswith("search "))
    assert lines[place + 1].split()[1].startswith("'<think>")
    # The verifier values rollouts: more answers are right than by chance.
    verdicts = pl.concat(
        pl.read_parquet(part) for part in (tmp_path / "run" / "verdicts").glob("*.parquet")
    )
    assert (verdicts["decision"] == "keep").sum() >= 3


def test_a_tree_that_was_killed_grows_on_and_is_the_same(tmp_path: Path) -> None:
    """kill -9 within trees, three times; then the same nodes, values and answers as unbroken."""
    recipe = write_recipe(tmp_path, "tree", TREE)
    expected = run(recipe, tmp_path / "unbroken")
    folder, log = tmp_path / "killed", tmp_path / "killed" / "samples" / FILE
    command = [sys.executable, "-m", "factory.cli", "build", str(recipe), "--run", str(folder)]
    environment = {**os.environ, "STEPPER_DELAY": "0.03", "FACTORY_TRUST_CODE": "1"}
    sizes = []
    for records in (20, 90, 160):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and process.poll() is None:
            if log.exists() and log.read_bytes().count(b"\n") >= records:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        sizes.append(log.read_bytes().count(b"\n"))
        with open(log, "ab") as stream:
            stream.write(b'{"prompt_id": "torn')  # as a kill in the middle of a write leaves it
    assert sizes == sorted(set(sizes))
    before = log.read_bytes()
    assert (folder / "corpus").exists() is False
    found = run(recipe, folder)
    assert found.drop("created_at").equals(expected.drop("created_at"))
    assert read_trees(folder) == read_trees(tmp_path / "unbroken")
    lines = log.read_bytes()
    assert lines.startswith(before.removesuffix(b'{"prompt_id": "torn'))
    drawn = [
        record for record in read_search_log(folder / "samples") if record and "node" in record
    ]
    keys = [(one["prompt_id"], one["index"], one["node"]["number"]) for one in drawn]
    assert len(keys) == len(set(keys))  # nothing was drawn twice


def test_a_damaged_record_costs_what_follows_from_it(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "tree", TREE, prompts=1)
    expected = run(recipe, tmp_path / "unbroken")
    log = tmp_path / "unbroken" / "samples" / FILE
    damaged = tmp_path / "damaged" / "samples"
    damaged.mkdir(parents=True)
    (tmp_path / "damaged" / "run.lock").touch()
    lines = log.read_bytes().splitlines(keepends=True)
    place = next(n for n, line in enumerate(lines) if b'"parent":1' in line)
    lines[place] = lines[place].replace(b";", b":", 1)
    (damaged / FILE).write_bytes(b"".join(lines))
    found = run(recipe, tmp_path / "damaged")
    assert found.drop("created_at").equals(expected.drop("created_at"))
    events = (tmp_path / "damaged" / "events.jsonl").read_text()
    assert '"search_damaged"' in events


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ("{policy: beam}", "go together"),
        ("{policy: fixed, search: {value: {verifier: true, rollouts: 1}}}", "go together"),
        ("{policy: beam, search: {expansions: 3, value: {verifier: true, rollouts: 1}}}", "tree"),
        ("{policy: tree, search: {diverse: true, value: {verifier: true, rollouts: 1}}}", "beam"),
        ("{policy: tree, search: {value: {verifier: true}}}", "set rollouts"),
        ("{policy: tree, search: {value: {}}}", "exactly one"),
        ("{policy: tree, search: {rule: auto, value: {verifier: true, rollouts: 1}}}", "rule"),
        (
            "{policy: tree, n: 1, temperature: 0, search: {value: {verifier: true, rollouts: 1}}}",
            "temperature above 0",
        ),
        (
            "{policy: tree, early_stop: {}, search: {value: {verifier: true, rollouts: 1}}}",
            "early_stop",
        ),
        ("{policy: tree, accept: 1, search: {value: {verifier: true, rollouts: 1}}}", "accept"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, sampling: str, message: str) -> None:
    recipe = write_recipe(tmp_path, "tree", TREE)
    lines = recipe.read_text().splitlines()
    lines = [f"sampling: {sampling}" if line.startswith("sampling") else line for line in lines]
    recipe.write_text("\n".join(lines))
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe)


@pytest.mark.real(group="torch")
@pytest.mark.parametrize("policy", ["beam", "tree"])
def test_a_real_model_is_searched(policy: str, tmp_path: Path) -> None:
    """Random weights and bytes as tokens: texts mean nothing, and every rule of the tree holds."""
    model = write_model(tmp_path / "model")
    wanted = replace(
        spec({"policy": policy, "max_tokens": 40}, rule="lines", step_tokens=7),
        model=Model(id=str(model)),
        engine=Engine(kind="transformers"),
        prompting=Prompting(prefill="<think>\n"),
    )
    engine = SearchEngine(open_engine(wanted, tmp_path, 0), wanted, NodeLog(tmp_path, ()))
    try:
        for index in range(2):
            engine.submit(Request(PROMPT, index))
        found: list[Sample | Failure] = []
        while len(found) < 2:
            found += engine.completed()
    finally:
        engine.close()
    records = [record for record in read_search_log(tmp_path) if record and "node" in record]
    for sample in found:
        assert isinstance(sample, Sample)
        nodes = [one["node"] for one in records if one["index"] == sample.index]
        assert sample.text.startswith("<think>\n")
        assert sample.prompt_text.endswith("assistant\n")
        assert sample.n_tokens == sum(node["n_tokens"] for node in nodes)
        texts = {0: ""}
        for node in sorted(nodes, key=lambda node: int(node["number"])):
            texts[node["number"]] = texts[node["parent"]] + node["text"]
            assert node["n_tokens"] <= (40 if node["whole"] else 7)
        assert sample.text in texts.values()


EVAL = """
kind: eval
name: searched
model: demo
sources: [{{kind: files, path: {rows}, language: en, verifier: {{kind: math}}}}]
k: 2
prompting: {{template: few_shot}}
engine: {{class: "{stepper}:Stepper"}}
sampling: {{policy: beam, temperature: 1.0, search: {search}}}
filters: {{correctness: {{}}}}
metrics: [pass@1, tokens]
"""


def test_an_evaluation_searches_but_never_by_the_answers(tmp_path: Path) -> None:
    write_recipe(tmp_path, "beam", ROLLED)
    file = tmp_path / "eval.yaml"
    settings = {"rows": tmp_path / "rows.jsonl", "stepper": STEPPER}
    file.write_text(EVAL.format(search=ROLLED, **settings))
    with pytest.raises(RecipeError, match="knows the answers"):
        load_eval(file)
    own = f"{{rule: equations, width: 2, beams: 2, value: {{class: '{SCORER}'}}}}"
    file.write_text(EVAL.format(search=own, **settings))
    evaluate(load_eval(file), tmp_path / "run", Console(file=StringIO()))
    trees = read_trees(tmp_path / "run")
    assert len(trees) == 8
    table = (tmp_path / "run" / "eval.md").read_text()
    spent = sum(
        node["n_tokens"] for tree in trees.values() for key, node in tree.items() if key > 0
    )
    assert f"{spent / 8:.1f}" in table or f"{spent / 8:,.0f}" in table


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return []", r"returns \[\] for 2 texts"),
        ("return [2.0 for _ in texts]", "from 0 to 1"),
        ("return ['good' for _ in texts]", "from 0 to 1"),
        ("return [float('nan') for _ in texts]", "from 0 to 1"),
        ("raise ValueError('no model')", "raises ValueError: no model"),
    ],
)
def test_a_scorer_that_fails_is_named(tmp_path: Path, body: str, message: str) -> None:
    file = tmp_path / "scorers.py"
    file.write_text(f"class Bad:\n    def score(self, question, texts):\n        {body}\n")
    with pytest.raises(EngineError, match=message):
        play(tmp_path, Script(numbered), spec({}, value={"class": f"{file}:Bad"}))


def test_a_class_that_scores_nothing_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "scorers.py"
    file.write_text("class Other:\n    pass\n")
    with pytest.raises(ValueError, match="it has no score"):
        options(value={"class": f"{file}:Other"})
