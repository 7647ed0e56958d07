"""Verdicts on whole responses, one table; and what `check` says of prompts."""

from __future__ import annotations

import shutil
import threading
from typing import Any

import pytest

from filters.verify.code.verifier import CodeVerifier

Spec = dict[str, Any]

SQUARE: Spec = {
    "kind": "code",
    "time_limit_s": 1,
    "tests": {"stdin": [{"input": "2\n", "output": "4\n"}, {"input": "-5\n", "output": "25\n"}]},
}
PAIR: Spec = {
    "kind": "code",
    "time_limit_s": 1,
    "starter_code": "class Solution:\n def pair(self, nums: List[int], goal: int) -> List[int]:\n",
    "tests": {
        "call": {
            "name": "pair",
            "cases": [
                {"args": [[2, 7, 11], 9], "expected": [0, 1]},
                {"args": {"nums": [3, 3], "goal": 6}, "expected": [0, 1]},
            ],
        }
    },
}
FACTOR: Spec = {  # any proper divisor will do
    "kind": "code",
    "tests": {"stdin": [{"input": "91\n", "output": "7\n"}]},
    "checker": """
import sys
given, expected, output = (open(name).read() for name in sys.argv[1:])
n, d = int(given), int(output)
print(int(1 < d < n and n % d == 0))
""",
}
NO_CHECKER: Spec = {**FACTOR, "checker": "raise SystemExit(3) # says nothing"}
SLEEPER = "import time\nwhile time.process_time() < 0.75: pass\ntime.sleep(60)"
TRUE: Spec = {
    "kind": "code",
    "tests": {"call": {"name": "f", "cases": [{"args": [], "expected": True}]}},
}
CPP: Spec = {**SQUARE, "language": "cpp"}

PAIR_BODY = """
    def pair(self, nums: List[int], goal: int) -> List[int]:
        print("noise")
        seen = {}
        for i, x in enumerate(nums):
            if goal - x in seen:
                return (seen[goal - x], i)
            seen[x] = i
"""

VERDICTS = [
    ("right", SQUARE, "print(int(input()) ** 2)", "correct", None),
    (
        "right by main guard",
        SQUARE,
        "if __name__ == '__main__':\n print(int(input()) ** 2)",
        "correct",
        None,
    ),
    ("right by exit", SQUARE, "print(int(input()) ** 2); exit()", "correct", None),
    (
        "right in a thread",
        SQUARE,
        "import threading, sys\nthreading.stack_size(1 << 26)\n"
        "threading.Thread(target=lambda: print(int(sys.stdin.readline()) ** 2)).start()",
        "correct",
        None,
    ),
    (
        "right at exit",
        SQUARE,
        "import atexit; atexit.register(lambda: print(int(input()) ** 2))",
        "correct",
        None,
    ),
    (
        "right by bytes",
        SQUARE,
        "import os; os.write(1, b'%d' % (int(os.read(0, 99)) ** 2))",
        "correct",
        None,
    ),
    ("second test wrong", SQUARE, "print(2 * int(input()))", "wrong", "test 2 of 2: wrong_output"),
    ("nothing printed", SQUARE, "pass", "wrong", "0 tokens, expected 1"),
    (
        "raises after the answer",
        SQUARE,
        "print(int(input()) ** 2); raise ValueError('x')",
        "wrong",
        "exit 1: ValueError: x",
    ),
    (
        "exits with 3 after the answer",
        SQUARE,
        "print(int(input()) ** 2); exit(3)",
        "wrong",
        "exit 3",
    ),
    ("leaves early", SQUARE, "import sys; sys.exit(0)", "wrong", "wrong_output"),
    ("leaves at once", SQUARE, "import os; os._exit(0)", "wrong", "wrong_output"),
    ("no output stream", SQUARE, "import sys; sys.stdout = None", "wrong", ""),
    (
        "another output stream",
        SQUARE,
        "import sys, io; sys.stdout = io.StringIO(); print(4)",
        "wrong",
        "wrong_output",
    ),
    ("does not compile", SQUARE, "print(", "wrong", "SyntaxError"),
    ("too slow", SQUARE, "while True: pass", "wrong", "time_limit"),
    ("too large", SQUARE, "x = bytearray(4 << 30)", "wrong", "MemoryError"),
    ("too long", SQUARE, "print('4 ' * 10_000_000)", "wrong", "output_limit"),
    ("a missing module", SQUARE, "import no_such_thing", "wrong", "ModuleNotFoundError"),
    (
        "a future of its own",
        SQUARE,
        "from __future__ import annotations\nprint(int(input()) ** 2)",
        "correct",
        None,
    ),
    ("annotations are evaluated", SQUARE, "def f(x: missing): pass", "wrong", "NameError"),
    ("not UTF-8", SQUARE, "import os; os.write(1, b'\\xff\\xfe')", "wrong", "wrong_output"),
    ("a surrogate in the program", SQUARE, "print('\ud800')", "wrong", ""),
    ("call", PAIR, "class Solution:" + PAIR_BODY, "correct", None),
    (
        "call of a function",
        PAIR,
        "def pair(nums, goal):\n  for j in range(len(nums)):\n   for i in range(j):\n"
        "    if nums[i] + nums[j] == goal: return [i, j]",
        "correct",
        None,
    ),
    ("call of nothing", PAIR, "def other(): pass", "wrong", "NameError"),
    ("no such function", TRUE, "def other(): pass", "wrong", "NameError"),
    ("call raises", TRUE, "def f(): return 1 / 0", "wrong", "ZeroDivisionError"),
    ("true", TRUE, "def f(): return True", "correct", None),
    ("one is not true", TRUE, "def f(): return 1", "wrong", "is '1', expected 'true'"),
    (
        "equal to everything",
        TRUE,
        "class E:\n def __eq__(s, o): return True\ndef f(): return E()",
        "wrong",
        "not JSON",
    ),
    (
        "an int equal to everything",
        TRUE,
        "class E(int):\n def __eq__(s, o): return True\ndef f(): return E()",
        "wrong",
        "",
    ),
    (
        "patched json",
        TRUE,
        "import json\njson.dump = lambda *a, **k: None\ndef f(): return True",
        "wrong",
        "not JSON",
    ),
    (
        "patched builtins",
        TRUE,
        "import builtins\nbuiltins.open = None\ndef f(): return False",
        "wrong",
        "",
    ),
    ("cyclic", TRUE, "def f():\n  x = []; x.append(x); return x", "wrong", "Circular"),
    (
        "too deep",
        TRUE,
        "import os\nos.write(3, b'[' * 1000000)\nos._exit(0)",
        "wrong",
        "nested too deeply",
    ),
    (
        "endless call",
        {**TRUE, "time_limit_s": 1},
        "def f():\n  while True: pass",
        "wrong",
        "time_limit",
    ),
    ("checker accepts another", FACTOR, "print(13)", "correct", None),
    ("checker refuses", FACTOR, "print(91)", "wrong", "the checker refused it"),
    ("checker cannot read it", FACTOR, "print('seven')", "wrong", "the checker cannot read it"),
    ("checker falls over", NO_CHECKER, "print(7)", "error", "the checker gave no verdict"),
    ("sleeps after its work", SQUARE, SLEEPER, "wrong", "time_limit"),
]


@pytest.mark.parametrize("case", VERDICTS, ids=lambda case: case[0])
def test_python(verifier: CodeVerifier, case: tuple[str, Spec, str, str, str]) -> None:
    _, spec, program, state, detail = case
    (verdict,) = verifier.verify([(spec, f"So:\n```python\n{program}\n```")])
    assert verdict.state == state, verdict
    assert (detail or "") in (verdict.detail or "")
    assert verdict.method == "tests"
    assert verdict.extracted == f"{program}\n"


CPP_VERDICTS = [
    ("int main() { long n; std::cin >> n; std::cout << n * n; }", "correct", None),
    ("int main() { std::cout << 4; }", "wrong", "test 2 of 2"),
    ("int main() { return x; }", "wrong", "compile_error: exit 1: "),
    ("int main() { std::cout << 4; return 7; }", "wrong", "exit 7"),
    ("int main() { volatile int x = 0; for (;;) x++; }", "wrong", "time_limit"),
    ("int main() { std::vector<char> x(4ull << 30, 1); }", "wrong", "signal"),
    ("int main() { *(volatile int*)0 = 0; }", "wrong", "signal -11"),
    ("#include <unistd.h>\nint main() { if (fork() >= 0) std::cout << 4; }", "wrong", ""),
    ('#include "/etc/passwd"\nint main() {}', "wrong", "compile_error"),
    ("template<int N> struct A { A<N + 1> a; }; A<0> a; int main() {}", "wrong", "compile_error"),
]


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_cpp(verifier: CodeVerifier) -> None:
    head = "#include <iostream>\n#include <vector>\n"
    items = [(CPP, f"```cpp\n{head}{source}\n```") for source, _, _ in CPP_VERDICTS]
    for _ in range(2):  # the second time from the cache
        for verdict, (_, state, detail) in zip(verifier.verify(items), CPP_VERDICTS, strict=True):
            assert verdict.state == state, verdict
            assert (detail or "") in (verdict.detail or "")


def test_without_running(verifier: CodeVerifier) -> None:
    items = [
        (SQUARE, "It is 4."),
        (SQUARE, "```python\nprint(int(input()) ** 2)"),
        (SQUARE, "```python\nx = '" + "x" * 300_000 + "'\n```"),
        ({"kind": "code", "tests": "{"}, "```python\n1\n```"),
    ]
    states = [verdict.state for verdict in verifier.verify(items)]
    assert states == ["no_answer", "no_answer", "unparseable", "bad_reference"]


def test_order_is_kept(verifier: CodeVerifier) -> None:
    right, wrong = "```py\nprint(int(input()) ** 2)\n```", "```py\nimport time; time.sleep(.1)\n```"
    items = [(SQUARE, right if place % 3 else wrong) for place in range(12)]
    states = [verdict.state for verdict in verifier.verify(items)]
    assert states == ["correct" if place % 3 else "wrong" for place in range(12)]


CHECKS = [
    ("fine", SQUARE, None),
    ("fine call", PAIR, None),
    ("fine checker", FACTOR, None),
    ("malformed", {"kind": "code"}, "tests is missing"),
    ("starter does not compile", {**PAIR, "starter_code": "def f(:"}, "starter_code does not load"),
    ("starter raises", {**PAIR, "starter_code": "missing"}, "NameError"),
    ("right solution", {**SQUARE, "solution": "print(int(input()) ** 2)"}, None),
    ("fenced solution", {**SQUARE, "solution": "```py\nprint(int(input()) ** 2)\n```"}, None),
    ("wrong solution", {**SQUARE, "solution": "print(4)"}, "its own solution fails: test 2 of 2"),
    ("broken checker", {**FACTOR, "checker": "import sys\nprint("}, "the checker refuses"),
    ("strict checker", {**FACTOR, "checker": "print( 0 )"}, "the checker refuses"),
    (
        "fine C++",
        {
            **CPP,
            "solution": '#include <cstdio>\nint main(){long n;scanf("%ld",&n);printf("%ld",n*n);}',
        },
        None,
    ),
]


@pytest.mark.parametrize("case", CHECKS, ids=lambda case: case[0])
def test_check(verifier: CodeVerifier, case: tuple[str, Spec, str | None]) -> None:
    _, spec, expected = case
    (reason,) = verifier.check([spec])
    assert reason is None if expected is None else expected in str(reason)


def test_from_another_thread(verifier: CodeVerifier) -> None:
    """A box dies with the thread that opened it; the verifier must not."""
    item = (SQUARE, "```py\nprint(int(input()) ** 2)\n```")
    found = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: found.extend(verifier.verify([item] * 3)))
        thread.start()
        thread.join()
    found += verifier.verify([item] * 3)
    assert [verdict.state for verdict in found] == ["correct"] * 9
