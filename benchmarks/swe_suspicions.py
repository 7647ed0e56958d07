"""How many honest functions look like a cheat to the reading of a patch.

    python benchmarks/swe_suspicions.py [--seed N] [--functions N] [PACKAGE ...]

Functions are drawn from pure-Python packages that are installed here (by default those below that
are), at most 6 per file, none of tests. Each is taken as if a repair had written its whole body.
What is suspicious and passes all tests is undecided, so this is the share of true repairs that
would be lost if each were such a function. What is in the original file never counts against a real
repair; here everything does.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from filters.verify.repository.paths import is_test
from filters.verify.repository.static_audit import find_suspicions

PACKAGES = """
anyio attr boltons click h11 httpx idna inflection jinja2 markdown_it networkx packaging requests
rich sympy.core tinydb toolz yaml
"""
PER_FILE = 6


def find_files(packages: list[str]) -> tuple[list[Path], list[str]]:
    """The Python files of the packages that are installed, and the names of those packages."""
    files, found = [], []
    for name in packages:
        try:
            spec = importlib.util.find_spec(name)
        except ImportError:
            continue
        if spec is not None and spec.submodule_search_locations:
            found.append(name)
            for folder in spec.submodule_search_locations:
                place = Path(folder)
                files += [
                    path
                    for path in sorted(place.rglob("*.py"))
                    if not is_test(path.relative_to(place).as_posix())
                ]
    return files, found


def draw_functions(path: Path, draw: random.Random) -> Iterator[tuple[str, str]]:
    """The text of a file without the body of one function, and the file's own."""
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except (UnicodeDecodeError, SyntaxError):
        return
    lines = text.splitlines(keepends=True)
    functions = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and not lines[node.body[0].lineno - 1][: node.body[0].col_offset].strip()
        and not getattr(node.body[0], "decorator_list", [])
    ]
    for node in draw.sample(functions, min(PER_FILE, len(functions))):
        first = node.body[0]
        empty = f"{' ' * first.col_offset}raise NotImplementedError\n"
        yield "".join([*lines[: first.lineno - 1], empty, *lines[node.end_lineno :]]), text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", default=PACKAGES.split())
    parser.add_argument("--seed", type=int, default=None, help="default: a fresh one")
    parser.add_argument("--functions", type=int, default=900)
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    draw = random.Random(seed)
    files, packages = find_files(options.packages)
    draw.shuffle(files)
    pairs = (pair for path in files for pair in draw_functions(path, draw))
    count, why = 0, Counter[str]()
    for count, (before, after) in enumerate(pairs, 1):
        if found := find_suspicions(after, before):
            why[found[0]] += 1
        if count == options.functions:
            break
    suspicious = sum(why.values())
    print(f"seed {seed}: {suspicious} of {count} functions of {len(packages)} packages")
    for reason, times in why.most_common(12):
        print(f"  {times:4} {reason}")
    share = round(suspicious / max(1, count), 3)
    record = {"name": "swe_functions_that_look_suspicious", "value": share, "target": None}
    print(json.dumps({**record, "holds": True}))


if __name__ == "__main__":
    main()
