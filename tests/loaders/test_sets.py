"""Each set known by name, on rows in its exact shape, written here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from factory.core.nouns import Prompt
from factory.prompts import loader_class
from factory.prompts.load import load_prompts
from factory.prompts.source import Reject, Skip


def outcome(kind: str, row: dict[str, Any], **keys: Any) -> Prompt | str:
    found = loader_class(kind)(**keys)._convert("set:1", row)
    match found:
        case Skip():
            return f"skip {found.reason}"
        case Reject():
            return f"reject {found.reason}"
    return found


NUMINA = {
    "problem": "Find $x$ if $x+2=5$.",
    "answer": "3",
    "problem_type": "Algebra",
    "question_type": "math-word-problem",
    "problem_is_valid": "Yes",
    "solution_is_valid": "Yes",
    "source": "olympiads",
    "synthetic": False,
}
GSM = {
    "question": "Natalia sold 24 clips in May and twice as many in June. How many in total?",
    "answer": "In June she sold 24*2 = <<24*2=48>>48 clips.\nIn total 24+48 = <<24+48=72>>72.\n"
    "#### 72",
}
DAPO = {
    "prompt": [
        {
            "role": "user",
            "content": "Solve the following math problem step by step. The last line of your "
            "response should be of the form Answer: $Answer (without quotes) where $Answer is the "
            "answer to the problem.\n\nHow many primes are below 12?\n\nRemember to put your "
            'answer on its own line after "Answer:".',
        }
    ],
    "reward_model": {"ground_truth": "5", "style": "rule-lighteval/MATH_v2"},
    "ability": "MATH",
    "data_source": "math_dapo",
    "extra_info": {"index": "9a9b"},
}
BIG = {
    "problem": "What is 6 times 7?",
    "answer": "42",
    "source": "cn_k12",
    "domain": ["Mathematics -> Arithmetic"],
    "llama8b_solve_rate": 0.98,
}
OPEN_R1 = {
    "problem": "What is 6 times 7?",
    "answer": "42",
    "problem_type": "Number Theory",
    "question_type": "math-word-problem",
    "source": "olympiads",
    "uuid": "u-1",
}
REASONING = {
    "problem": "What is 6 times 7?",
    "expected_answer": "42",
    "problem_type": "has_answer_extracted",
    "pass_rate_72b_tir": "0.96875",
}
PRM = {
    "question": {"problem": "Halve one.", "ground_truth_answer": r"\frac{1}{2}"},
    "label": {"steps": [], "finish_reason": "solution"},
}
UNANSWERED = {"problem": "Prove it.", "ground_truth_answer": ""}
DEEP = {"question": "Evaluate $1+1$.", "final_answer": "2", "difficulty": 4.5, "topic": "Algebra"}


@pytest.mark.parametrize(
    ("kind", "row", "change", "expected"),
    [
        ("gsm8k", GSM, {}, "72"),
        ("gsm8k", GSM, {"answer": "He has $1,234.\n#### 1,234"}, "1,234"),
        ("gsm8k", GSM, {"answer": "So #### 5 is not it.\n#### -7"}, "-7"),
        ("gsm8k", GSM, {"answer": "It is 72."}, "reject no_answer"),
        ("gsm8k", GSM, {"answer": "It is 72.\n####"}, "reject no_answer"),
        ("gsm8k", GSM, {"answer": 72}, "reject bad_shape"),
        ("gsm8k", {"problem": "q", "answer": "#### 1"}, {}, "reject bad_shape"),
        ("numina_math", NUMINA, {}, "3"),
        ("numina_math", NUMINA, {"answer": "proof"}, "skip proof"),
        ("numina_math", NUMINA, {"question_type": "proof"}, "skip proof"),
        ("numina_math", NUMINA, {"answer": "notfound"}, "skip no_answer"),
        ("numina_math", NUMINA, {"answer": ""}, "skip no_answer"),
        ("numina_math", NUMINA, {"answer": None}, "skip no_answer"),
        ("numina_math", NUMINA, {"problem_is_valid": "Incomplete"}, "skip flagged_invalid"),
        ("numina_math", NUMINA, {"solution_is_valid": "No"}, "skip flagged_invalid"),
        ("numina_math", NUMINA, {"problem": None}, "reject no_question"),
        ("numina_math", {"question": "q"}, {}, "reject bad_shape"),
        ("deepscaler", {"problem": "1+1?", "answer": "2", "solution": ""}, {}, "2"),
        ("deepscaler", {"problem": "1+1?", "answer": "", "solution": ""}, {}, "skip no_answer"),
        ("dapo_math", DAPO, {}, "5"),
        ("dapo_math", DAPO, {"prompt": []}, "reject bad_shape"),
        ("dapo_math", DAPO, {"prompt": [{"role": "user"}]}, "reject bad_shape"),
        ("dapo_math", DAPO, {"reward_model": {"ground_truth": ""}}, "skip no_answer"),
        ("big_math", BIG, {}, "42"),
        ("openr1_math", OPEN_R1, {}, "42"),
        ("openr1_math", OPEN_R1, {"answer": ""}, "skip no_answer"),
        ("openr1_math", OPEN_R1, {"question_type": "proof"}, "skip proof"),
        ("open_math_reasoning", REASONING, {}, "42"),
        ("open_math_reasoning", REASONING, {"problem_type": "converted_proof"}, "skip proof"),
        ("deep_math", DEEP, {}, "2"),
        ("prm800k", PRM, {}, r"\frac{1}{2}"),
        (
            "prm800k",
            PRM,
            {"question": {"problem": "?", "ground_truth_answer": ""}},
            "skip no_answer",
        ),
        ("prm800k", PRM, {"question": "?"}, "reject bad_shape"),
    ],
)
def test_math(kind: str, row: dict[str, Any], change: dict[str, Any], expected: str) -> None:
    found = outcome(kind, row | change)
    if isinstance(found, Prompt):
        assert found.domain == "math"
        assert found.license
        assert found.verifier == {"kind": "math", "answer": expected}
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("last", "mark", "expected"),
    [
        ("It is 6. The answer is: 6", "+", "6"),
        ("It is 5. The answer is: 5", "-", "skip wrong_solution"),
        (r"So. The answer is: \frac{1}{2}", "+", r"\frac{1}{2}"),
        ("So he has 1,200 left. #### 1,200", "+", "1,200"),
        ("So it is 6.", "+", "reject no_answer"),
        ("The answer is:", "+", "reject no_answer"),
        ("The answer is: 5? No. The answer is: 6", "+", "6"),
        ("#### 5? The answer is: 6", "+", "6"),
        ("The answer is: 6\nOr so.", "+", "reject no_answer"),
        pytest.param(f"The answer is: 6{' ' * 1_000_000}7", "+", "6 7", id="white space"),
        ("The answer is: 6", "?", "reject bad_shape"),
    ],
)
def test_math_shepherd_refers_to_its_right_solutions(last: str, mark: str, expected: str) -> None:
    start = "How many legs have 3 hens? Step 1: A hen has 2."
    row = {"input": f"{start} ки\nStep 2: {last} ки", "label": f"{start} -\nStep 2: {last} {mark}"}
    found = outcome("math_shepherd", row | {"task": "GSM8K"})
    if isinstance(found, str):
        assert found == expected
    else:
        assert found.question == "How many legs have 3 hens?"
        assert found.verifier is not None
        assert " ".join(found.verifier["answer"].split()) == expected
        assert found.meta["origin"] == "GSM8K"


def test_a_question_of_math_shepherd_has_one_reference(tmp_path: Path) -> None:
    rows = []
    for answer, mark in (("7", "-"), ("6", "+"), ("6.0", "+"), ("6", "+")):
        text = f"How many legs have 3 hens? Step 1: The answer is: {answer} "
        rows.append({"input": f"{text}ки", "label": f"{text}{mark}", "task": "GSM8K"})
    (tmp_path / "train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    loaded = load_prompts([loader_class("math_shepherd")(dataset=str(tmp_path))])  # type: ignore[call-arg]
    assert [prompt.verifier for prompt in loaded.prompts] == [{"kind": "math", "answer": "6"}]
    assert (loaded.counts[0].repeated, loaded.counts[0].skipped) == (2, {"wrong_solution": 1})


def test_a_set_with_chosen_columns_is_read_from_json_lines_too(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(f"{json.dumps(PRM)}\n" * 2)
    loaded = load_prompts([loader_class("prm800k")(dataset=str(tmp_path))])  # type: ignore[call-arg]
    assert [prompt.question for prompt in loaded.prompts] == ["Halve one."]
    assert loaded.counts[0].repeated == 1


def test_dapo_problems_lose_their_wrapper() -> None:
    found = outcome("dapo_math", DAPO)
    assert isinstance(found, Prompt)
    assert found.question == "How many primes are below 12?"
    bare = {"role": "user", "content": "Solve the following math problem: 1+1?"}
    kept = outcome("dapo_math", DAPO | {"prompt": [bare]})
    assert isinstance(kept, Prompt)
    assert kept.question == bare["content"]


@pytest.mark.parametrize(("rate", "meta"), [("0.96875", 0.96875), ("n/a", None), (None, None)])
def test_pass_rates_are_text(rate: str | None, meta: float | None) -> None:
    found = outcome("open_math_reasoning", REASONING | {"pass_rate_72b_tir": rate})
    assert isinstance(found, Prompt)
    assert found.meta.get("pass_rate") == meta


def held(**tests: Any) -> str:
    return json.dumps(tests)


TACO = {
    "question": "Print the double of n.",
    "starter_code": "",
    "input_output": held(inputs=["1\n", ["2", "3"]], outputs=["2\n", ["4", "6"]]),
    "time_limit": "2.0 seconds",
    "memory_limit": "256.0 megabytes",
    "difficulty": "EASY",
    "source": "codeforces",
    "url": None,
}
CALL = {
    "starter_code": "def double(n):\n\t",
    "input_output": held(fn_name="double", inputs=[[1], [2]], outputs=[[2], [4]]),
}
CONTEST = {
    "name": "1_A. Twice",
    "description": "Print the double of n.",
    "public_tests": {"input": ["1\n"], "output": ["2\n"]},
    "private_tests": {"input": [], "output": []},
    "generated_tests": {"input": ["2\n"], "output": ["4\n"]},
    "time_limit": {"seconds": 1, "nanos": 500000000},
    "memory_limit_bytes": 256000000,
    "input_file": "",
    "output_file": "",
    "cf_rating": 800,
}
PRIME_CODE = {
    "prompt": "Print the double of n.",
    "gold_standard_solution": "print(2 * int(input()))",
    "verification_info": "{'language': 'python', 'test_cases': [{'type': 'stdin_stdout', "
    "'fn_name': None, 'input': '1\\n', 'output': '2\\n'}]}",
    "task_type": "verifiable_code",
    "problem_id": "vcp_1",
}


def stdin(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"stdin": [{"input": given, "output": wanted} for given, wanted in pairs]}


def call(name: str, *pairs: tuple[list[Any], Any]) -> dict[str, Any]:
    return {
        "call": {
            "name": name,
            "cases": [{"args": args, "expected": expected} for args, expected in pairs],
        }
    }


DOUBLE = call("double", ([1], 2), ([2], 4))
LISTED = json.dumps([{"input": "1\n", "output": "2\n"}])


@pytest.mark.parametrize(
    ("kind", "row", "change", "tests"),
    [
        ("taco", TACO, {}, stdin(("1\n", "2\n"), ("2\n3", "4\n6"))),
        ("taco", TACO, CALL, DOUBLE),
        ("apps", TACO, CALL, DOUBLE),
        ("code_contests", CONTEST, {}, stdin(("1\n", "2\n"), ("2\n", "4\n"))),
        ("code_contests", CONTEST, {"input_file": "input.txt"}, "skip reads_files"),
        ("code_contests", CONTEST, {"description": "See <image>."}, "skip image"),
        ("code_contests", CONTEST, {"public_tests": {"input": ["1"]}}, "reject bad_shape"),
        ("prime_intellect", PRIME_CODE, {}, stdin(("1\n", "2\n"))),
    ],
)
def test_code(kind: str, row: dict[str, Any], change: dict[str, Any], tests: Any) -> None:
    assert code_tests(outcome(kind, row | change)) == tests


@pytest.mark.parametrize(
    ("text", "tests"),
    [
        ("", "skip no_tests"),
        (held(inputs=[], outputs=[]), "skip no_tests"),
        (held(fn_name="f"), "skip no_tests"),
        ("{'inputs'", "reject bad_json"),
        ("[1]", "reject bad_tests"),
        (held(inputs=["1"], outputs=[]), "reject bad_tests"),
        (held(inputs=1, outputs=2), "reject bad_shape"),
        (held(fn_name="f", inputs=[1], outputs=[2]), "reject bad_tests"),
        # Results wrapped in a list of one, all of them, against results that are lists.
        (held(fn_name="f", inputs=[[1], [2]], outputs=[[1], [2]]), call("f", ([1], 1), ([2], 2))),
        (
            held(fn_name="f", inputs=[[1], [2]], outputs=[[1], [1, 2]]),
            call("f", ([1], [1]), ([2], [1, 2])),
        ),
        (held(fn_name="f", inputs=['"a"\n[1, 2]'], outputs=[3]), call("f", (["a", [1, 2]], 3))),
    ],
)
def test_input_output(text: str, tests: Any) -> None:
    assert code_tests(outcome("apps", TACO | {"input_output": text})) == tests


@pytest.mark.parametrize(
    ("info", "tests"),
    [
        (held(test_cases=[{"input": "1", "output": "2"}]), stdin(("1", "2"))),
        (held(ground_truth=LISTED), stdin(("1\n", "2\n"))),
        (held(language="rust", test_cases=[{"input": "1", "output": "2"}]), "skip other_language"),
        (
            held(test_cases=[{"fn_name": "f", "input": [1], "output": 2, "type": "function_call"}]),
            call("f", ([1], 2)),
        ),
        (held(test_cases=[{"fn_name": "f"}, {"fn_name": "g"}]), "reject bad_tests"),
        (held(test_cases=["1"]), "reject bad_tests"),
        ("__import__('os').getcwd()", "reject bad_verifier"),
        ("((" * 9999, "reject bad_verifier"),
    ],
)
def test_prime_intellect_tests(info: str, tests: Any) -> None:
    row = PRIME_CODE | {"verification_info": info}
    assert code_tests(outcome("prime_intellect", row)) == tests


def code_tests(found: Prompt | str) -> Any:
    if isinstance(found, str):
        return found
    assert found.domain == "code"
    assert found.verifier is not None
    return found.verifier["tests"]


def test_limits_and_starter_code() -> None:
    found = outcome("taco", TACO | CALL)
    assert isinstance(found, Prompt)
    assert found.verifier is not None
    assert (found.verifier["time_limit_s"], found.verifier["memory_mb"]) == (2.0, 256)
    assert found.verifier["starter_code"] == CALL["starter_code"]
    assert "def double(n):" in found.question
    contest = outcome("code_contests", CONTEST)
    assert isinstance(contest, Prompt)
    assert contest.verifier is not None
    assert (contest.verifier["time_limit_s"], contest.verifier["memory_mb"]) == (1.5, 256)
    assert "time_limit_s" not in (outcome("apps", TACO).verifier or {})  # type: ignore[union-attr]


def test_tests_beyond_the_budget_are_left_out() -> None:
    large = held(inputs=["1", "x" * 5000, "2"], outputs=["2", "y", "4"])
    found = outcome("apps", TACO | {"input_output": large}, max_test_bytes=200)
    assert isinstance(found, Prompt)
    assert found.verifier is not None
    assert [test["input"] for test in found.verifier["tests"]["stdin"]] == ["1", "2"]
    assert found.meta["tests_left_out"] == 1
    assert outcome("apps", TACO, max_test_bytes=3) == "skip tests_too_large"


@pytest.mark.parametrize(
    ("info", "task", "expected"),
    [
        ('{"ground_truth": "7"}', "verifiable_math", {"kind": "math", "answer": "7"}),
        ("{'ground_truth': '7'}", "verifiable_math", {"kind": "math", "answer": "7"}),
        ({"ground_truth": 7}, "verifiable_math", {"kind": "math", "answer": "7"}),
        ('{"ground_truth": "7"}', "code_output_prediction", {"kind": "text", "answer": "7"}),
        ('{"ground_truth": ""}', "verifiable_math", "skip no_answer"),
        ('{"ground_truth": "x"}', "llm_judgeable_groundtruth_similarity", "skip needs_a_judge"),
        ("7", "verifiable_math", "reject bad_verifier"),
    ],
)
def test_prime_intellect_answers(info: Any, task: str, expected: Any) -> None:
    row = {"prompt": "3+4?", "verification_info": info, "task_type": task, "problem_id": "p"}
    found = outcome("prime_intellect", row)
    assert (found.verifier if isinstance(found, Prompt) else found) == expected
