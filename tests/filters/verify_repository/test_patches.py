"""Patches in two notations: what is applied, and what is refused by which reason."""

from __future__ import annotations

import difflib
import textwrap
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.verify.repository.notations import read_patch
from filters.verify.repository.patch import PatchError, apply_changes
from filters.verify.repository.paths import require_allowed

FILE = "def add(a, b):\n    return a - b\n\n\ndef twice(a):\n    return a - a\n"
FILES = {
    "pkg/sums.py": FILE,
    "pkg/dos.py": FILE.replace("\n", "\r\n"),
    "pkg/unended.py": "x = 1\ny = 2",
    "pkg/same.py": "def f():\n    return 1\n\n\ndef g():\n    return 1\n",
    "pkg/empty.py": "",
    "tests/test_sums.py": "def test_add():\n    assert False\n",
    "setup.py": "x = 1\n",
}


def patched(response: str) -> dict[str, str]:
    changes = read_patch(textwrap.dedent(response))
    for change in changes:
        require_allowed(change.path, ["pkg"])
    return apply_changes(changes, FILES)


FIXED = FILE.replace("a - b", "a + b")


def block(path: str, old: str, new: str) -> str:
    return f"{path}\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n"


def diff(path: str, old: str, new: str, at: str = "@@ -2 +2 @@") -> str:
    return f"--- a/{path}\n+++ b/{path}\n{at}\n-{old}\n+{new}\n"


GOOD = [
    ("block", block("pkg/sums.py", "    return a - b", "    return a + b"), {"pkg/sums.py": FIXED}),
    (
        "block_in_a_fence_below_its_path",
        "Fix:\n\n`pkg/sums.py`\n```python\n"
        + block("", "    return a - b", "    return a + b").lstrip("\n")
        + "```\n",
        {"pkg/sums.py": FIXED},
    ),
    (
        "block_with_a_heading",
        block("### pkg/sums.py:", "    return a - b", "    return a + b"),
        {"pkg/sums.py": FIXED},
    ),
    (
        "two_blocks_of_one_path",
        block("pkg/sums.py", "    return a - b", "    return a + b")
        + block("", "    return a - a", "    return a + a").lstrip("\n"),
        {"pkg/sums.py": FIXED.replace("a - a", "a + a")},
    ),
    (
        "a_later_block_sees_the_earlier",
        block("pkg/sums.py", "    return a - b", "    return b")
        + block("pkg/sums.py", "    return b", "    return a + b"),
        {"pkg/sums.py": FIXED},
    ),
    (
        "a_new_file",
        block("pkg/new.py", "", "x = 1").replace("SEARCH\n\n", "SEARCH\n"),
        {"pkg/new.py": "x = 1\n"},
    ),
    ("diff", diff("pkg/sums.py", "    return a - b", "    return a + b"), {"pkg/sums.py": FIXED}),
    (
        "diff_with_wrong_numbers",
        diff("pkg/sums.py", "    return a - b", "    return a + b", "@@ -77,9 +1,4 @@ def add"),
        {"pkg/sums.py": FIXED},
    ),
    (
        "diff_without_numbers",
        diff("pkg/sums.py", "    return a - b", "    return a + b", "@@"),
        {"pkg/sums.py": FIXED},
    ),
    (
        "git_diff_in_a_fence",
        "```diff\ndiff --git a/pkg/sums.py b/pkg/sums.py\nindex 1..2 100644\n"
        + diff("pkg/sums.py", "    return a - b", "    return a + b")
        + "```\nDone.",
        {"pkg/sums.py": FIXED},
    ),
    (
        "diff_without_prefixes",
        diff("pkg/sums.py", "    return a - b", "    return a + b")
        .replace("a/pkg", "pkg")
        .replace("b/pkg", "pkg"),
        {"pkg/sums.py": FIXED},
    ),
    (
        "the_line_number_decides_between_equal_lines",
        diff("pkg/same.py", "    return 1", "    return 2", "@@ -6 +6 @@"),
        {"pkg/same.py": "def f():\n    return 1\n\n\ndef g():\n    return 2\n"},
    ),
    (
        "diff_of_a_new_file",
        "--- /dev/null\n+++ b/pkg/new.py\n@@ -0,0 +1,2 @@\n+x = 1\n+y = 2\n",
        {"pkg/new.py": "x = 1\ny = 2\n"},
    ),
    (
        "crlf_stays",
        block("pkg/dos.py", "    return a - b", "    return a + b"),
        {"pkg/dos.py": FIXED.replace("\n", "\r\n")},
    ),
    (
        "crlf_in_the_response",
        diff("pkg/sums.py", "    return a - b", "    return a + b").replace("\n", "\r\n"),
        {"pkg/sums.py": FIXED},
    ),
    (
        "an_end_without_newline_stays",
        block("pkg/unended.py", "x = 1", "x = 3"),
        {"pkg/unended.py": "x = 3\ny = 2"},
    ),
    (
        "an_end_without_newline_that_changes_gets_one",
        "--- a/pkg/unended.py\n+++ b/pkg/unended.py\n@@ -2 +2 @@\n-y = 2\n"
        "\\ No newline at end of file\n+y = 3\n",
        {"pkg/unended.py": "x = 1\ny = 3\n"},
    ),
]


@pytest.mark.parametrize(
    ("response", "expected"), [case[1:] for case in GOOD], ids=[case[0] for case in GOOD]
)
def test_a_patch_is_applied(response: str, expected: dict[str, str]) -> None:
    assert patched(response) == expected


ADD = ("    return a - b", "    return a + b")
BAD = [
    ("no_patch", "I would add the numbers instead."),
    ("no_patch", "```python\nreturn a + b\n```"),
    ("malformed", block("pkg/sums.py", *ADD).replace(">>>>>>> REPLACE", "")),
    ("malformed", block("pkg/sums.py", *ADD).replace("=======", "")),
    ("malformed", block("", *ADD)),
    ("malformed", block("the file", *ADD)),
    ("malformed", block("pkg/sums.py", *ADD) + diff("pkg/sums.py", *ADD)),
    ("malformed", "--- a/pkg/sums.py\n+++ b/pkg/sums.py\n+    return a + b\n"),
    ("malformed", "--- a/pkg/sums.py\n+++ b/pkg/sums.py\n@@ -1 +1 @@\n+x = 1\n"),
    ("malformed", diff("pkg/sums.py", *ADD) + "@@@ -1 -1 +1 @@@\n"),
    ("malformed", "diff --git a/pkg/sums.py b/pkg/sums.py\nindex 1..2\n"),
    ("malformed", block("pkg/empty.py", "", "x = 1").replace("SEARCH\n\n", "SEARCH\n")),
    ("malformed", "--- /dev/null\n+++ b/pkg/sums.py\n@@ -0,0 +1 @@\n+x = 1\n"),
    ("malformed", block("pkg/sums.py", ADD[0], "    return '\udc80'")),
    ("malformed", block("pkg/sums.py", ADD[0], "    return " + "1" * 1_000_001)),
    ("not_found", block("pkg/sums.py", "    return a  - b", ADD[1])),
    ("not_found", block("pkg/sums.py", "return a - b", ADD[1])),
    ("not_found", block("pkg/sums.py", "    return a", ADD[1])),
    ("not_found", block("pkg/nothing.py", *ADD)),
    ("not_found", block("pkg/sums.py", *ADD) + block("pkg/sums.py", *ADD)),
    ("not_found", "--- a/pkg/sums.py\n+++ b/pkg/sums.py\n@@ -1,2 +1,2 @@\n def sub(a, b):\n"
     "-    return a - b\n+    return a + b\n"),
    ("ambiguous", block("pkg/same.py", "    return 1", "    return 2")),
    ("ambiguous", diff("pkg/same.py", "    return 1", "    return 2", "@@ -4 +4 @@")),
    ("no_change", block("pkg/sums.py", ADD[0], ADD[0])),
    ("no_change", block("pkg/sums.py", *ADD) + block("pkg/sums.py", ADD[1], ADD[0])),
    ("syntax_error", block("pkg/sums.py", ADD[0], "    return a +")),
    ("syntax_error", block("pkg/sums.py", ADD[0], "  return a + b\n    x")),
    ("syntax_error", block("pkg/sums.py", ADD[0], "    return " + "(" * 5000 + ")" * 5000)),
    ("syntax_error", block("pkg/sums.py", ADD[0], "    return " + "-" * 200_000 + "1")),
    ("forbidden_path", block("pkg/sums.py", ADD[0], "    return '\0'")),
    ("forbidden_path", block("setup.py", "x = 1", "x = 2")),
    ("forbidden_path", block("/etc/passwd.py", "x", "y")),
    ("forbidden_path", block("pkg/../setup.py", "x = 1", "x = 2")),
    ("forbidden_path", block("../outside.py", "x", "y")),
    ("forbidden_path", block("pkg/data.json", "x", "y")),
    ("forbidden_path", block("pkg\\sums.py", *ADD)),
    ("forbidden_path", block("pkg/.hidden/x.py", "x", "y")),
    ("forbidden_path", block("pkg/__pycache__/x.py", "x", "y")),
    ("forbidden_path", block("pkg//sums.py", *ADD)),
    ("forbidden_path", block("pkgs/sums.py", *ADD)),
    ("forbidden_path", "--- a/pkg/sums.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"),
    ("forbidden_path", "--- a/pkg/sums.py\n+++ b/pkg/other.py\n@@ -1 +1 @@\n-x\n+y\n"),
    ("forbidden_path", "diff --git a/pkg/a.py b/pkg/a.py\nnew file mode 120000\n"
     "--- /dev/null\n+++ b/pkg/a.py\n@@ -0,0 +1 @@\n+/etc/passwd\n"),
    ("forbidden_path", "diff --git a/pkg/a.py b/pkg/a.py\nold mode 100644\nnew mode 100755\n"),
    ("forbidden_path", "diff --git a/pkg/a.py b/pkg/b.py\nsimilarity index 90%\n"
     "rename from pkg/a.py\n"),
    ("forbidden_path", "diff --git a/pkg/a.py b/pkg/a.py\nGIT binary patch\n"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "response"), BAD)
def test_a_patch_is_refused_by_its_reason(reason: str, response: str) -> None:
    with pytest.raises(PatchError) as refused:
        patched(response)
    assert refused.value.reason == reason
    assert not refused.value.in_tests


@pytest.mark.parametrize(
    "path",
    [
        "tests/test_sums.py",
        "pkg/tests/helper.py",
        "pkg/test_new.py",
        "pkg/sums_test.py",
        "conftest.py",
        "pkg/conftest.py",
        "pytest.ini",
        "setup.cfg",
        "pyproject.toml",
        "tox.ini",
        "pkg/sitecustomize.py",
        "pkg/Tests/x.py",
    ],
)
def test_what_touches_the_tests_says_so(path: str) -> None:
    with pytest.raises(PatchError) as refused:
        require_allowed(path, ["pkg"])
    assert refused.value.in_tests


lines = st.lists(st.sampled_from(["a = 1", "b = 2", "if a:", "    pass", "", "# c"]), max_size=12)


@given(lines, lines)
def test_a_diff_of_difflib_gives_the_second_text_or_is_refused(
    old: list[str], new: list[str]
) -> None:
    """Never another text: contexts that match in several places are decided by line numbers."""
    before, after = ("".join(f"{line}\n" for line in some) for some in (old, new))
    path = "pkg/a.py"
    made = difflib.unified_diff(
        before.splitlines(True), after.splitlines(True), f"a/{path}", f"b/{path}"
    )
    with suppress(PatchError):
        assert apply_changes(read_patch("".join(made)), {path: before}) == {path: after}


@given(st.text(alphabet="<>=-+@ \nab/.pySEARCHREPLACE", max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(PatchError):
        assert read_patch(text)
