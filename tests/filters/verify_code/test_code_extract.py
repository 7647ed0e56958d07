"""Which block of a response is its program."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.verify.code.extract import blocks, last_program

PY = "```python\nprint(1)\n```"

CASES = [
    ("tagged", PY, "print(1)\n"),
    ("last of two", f"{PY}\nbetter:\n```py\nprint(2)\n```", "print(2)\n"),
    ("untagged", "```\nprint(1)\n```", "print(1)\n"),
    ("tagged before untagged output", f"{PY}\nprints\n```\n1\n```", "print(1)\n"),
    ("other language after", f"{PY}\n```bash\npython x.py\n```", "print(1)\n"),
    ("python3", "```python3\nprint(1)\n```", "print(1)\n"),
    ("attributes", "```{.python}\nprint(1)\n```", "print(1)\n"),
    ("capitals and a title", '```Python title="x.py"\nprint(1)\n```', "print(1)\n"),
    ("tildes", "~~~python\nprint(1)\n~~~", "print(1)\n"),
    ("longer fence holds a shorter", "````python\nx = '''\n```\n'''\n````", "x = '''\n```\n'''\n"),
    ("in a list", "1. so:\n   ```python\n   if x:\n       y\n   ```", "if x:\n    y\n"),
    ("windows", "```python\r\nprint(1)\r\n```\r\n", "print(1)\r\n"),
    ("form feed inside", "```python\na = 1\x0c\nb = 2\n```", "a = 1\x0c\nb = 2\n"),
    ("none", "The answer is 5.", None),
    ("inline code", "Use `print(1)`.", None),
    ("cut off", "```python\nprint(1)", None),
    ("cut off after a whole one", f"{PY}\n```python\nprint(2)", "print(1)\n"),
    ("only another language", "```java\nclass A {}\n```", None),
    ("empty", "```python\n\n```", None),
    ("a session is no program", "```pycon\n>>> 1\n```", None),
]


@pytest.mark.parametrize(
    ("response", "program"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_last_program(response: str, program: str | None) -> None:
    assert last_program(response, "python") == program


@pytest.mark.parametrize("tag", ["cpp", "c++", "C++17", "cc", "cpp20"])
def test_cpp(tag: str) -> None:
    assert last_program(f"{PY}\n```{tag}\nint main(){{}}\n```", "cpp") == "int main(){}\n"


@given(st.lists(st.text(alphabet="ab \t#`~'\n", max_size=30), max_size=8))
def test_what_is_fenced_is_found(texts: list[str]) -> None:
    fence = "`" * 31
    response = "\n".join(f"{fence}python\n{text}\n{fence}" for text in texts)
    assert [block.text for block in blocks(response)] == [f"{text}\n" for text in texts]


def test_linear() -> None:
    assert last_program("```python\n" * 200_000, "python") is None
    assert last_program("`" * 2_000_000, "python") is None
