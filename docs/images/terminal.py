"""A build as a terminal shows it, recorded from a real one: build.svg and build.txt.

    python docs/images/terminal.py FOLDER [RECIPE]

Carries the recipe (recipes/quickstart.yaml unless given) through in FOLDER, in a terminal of its
own. The run stays in FOLDER/runs, where docs/images/screenshots.py can take its pictures of it.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 96, 40
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r\n|\r|\n")


def record(command: list[str], folder: Path) -> str:
    """Everything a command writes to a terminal. Exits with its code if that is not zero."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
        os.execvpe(command[0], command, environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    written = bytearray()
    while True:
        try:
            written += os.read(terminal, 1 << 16)
        except OSError:  # a terminal whose other end is closed
            break
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    text = written.decode(errors="replace")
    if code:
        sys.exit(f"{' '.join(command)} ended with {code}:\n{text}")
    return text


def screen(written: str) -> str:
    """What is left on the screen: live lines are drawn over, colours stay.

    Knows what rich writes: to go up, to clear a line, to return.
    """
    lines, row, at = [""], 0, 0
    for control in [*_CONTROL.finditer(written), None]:
        plain = written[at : control.start() if control else len(written)]
        lines[row] += plain
        if control is None:
            break
        at, code = control.end(), control[0]
        if code.endswith("\n"):
            row += 1
            lines += [""] * (row == len(lines))
        elif code.endswith("A"):
            row = max(0, row - int(code[2:-1] or 1))
        elif code.endswith("K") or code == "\r":
            lines[row] = ""
        elif code.endswith("m"):
            lines[row] += code
    return "\n".join(lines).rstrip()


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python docs/images/terminal.py FOLDER [RECIPE]")
    folder = Path(sys.argv[1])
    recipe = sys.argv[2] if len(sys.argv) == 3 else "recipes/quickstart.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipes").unlink(missing_ok=True)
    (folder / "recipes").symlink_to(HERE.parents[1] / "recipes")
    command = ["factory", "build", recipe]
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shown = f"$ {' '.join(command)}\n{screen(record(command, folder))}"
    picture = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
    picture.print(Text.from_ansi(shown))
    (HERE / "build.txt").write_text(picture.export_text(clear=False), encoding="utf-8")
    picture.save_svg(str(HERE / "build.svg"), title="factory build")


if __name__ == "__main__":
    main()
