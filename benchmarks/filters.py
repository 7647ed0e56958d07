"""The text filters compared with other tools: language mixing, structure, repetition, linearity.

    python benchmarks/filters.py

Runs language.py, structure.py and linear_time.py one after another, each with its own table, and
prints all claims at the end. Each can be run separately; its docstring lists the peers to install.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = ("language.py", "structure.py", "linear_time.py")


def main() -> None:
    claims = []
    for name in SCRIPTS:
        print(f"== {name}\n", flush=True)
        command = [sys.executable, str(HERE / name)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            for line in running.stdout:
                print(line, end="", flush=True)
                claims += [line] * line.startswith('{"name"')
        if running.returncode:
            raise SystemExit(f"{name} failed")
        print(flush=True)
    print("".join(claims), end="")


if __name__ == "__main__":
    main()
elif __name__ == "filters":
    # Other scripts in this folder that import the package `filters` would find this file first:
    # provide the package.
    sys.path.insert(0, str(HERE.parent))
    del sys.modules[__name__]
    importlib.import_module(__name__)
