"""The ways to run what was handed in. Each ends the process and never returns.

Nothing in here has to withstand the program that it runs: a program that rewrites this module, the
streams or the builtins only changes what its own process prints, and that is judged outside.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import json
import os
import site
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

from . import kernel

RESULT_FD = 3
"""Where a call's result, or a compiled binary, goes."""

# What contest programs import most. Loaded once, so that a test pays nothing for them.
PRELOADED = """
array bisect collections copy dataclasses decimal enum fractions functools heapq io itertools json
math operator random re string threading traceback typing
"""

# A call-style solution may rely on these being there, as on the sites it was written for.
_CALL_IMPORTS = """
import array, bisect, collections, copy, functools, heapq, itertools, math, operator, random, re
import string, sys
from bisect import bisect_left, bisect_right, insort
from collections import Counter, OrderedDict, defaultdict, deque
from functools import cache, cmp_to_key, lru_cache, reduce
from heapq import heapify, heappop, heappush, heappushpop, heapreplace, nlargest, nsmallest
from itertools import accumulate, chain, combinations, permutations, product
from math import ceil, comb, factorial, floor, gcd, inf, isqrt, log, log2, sqrt
from typing import *
"""


_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
"""numpy would start a thread for each core, each with memory of its own."""


def preload(packages: str, modules: list[str]) -> None:
    """Import what programs use most, and `modules` from the folder `packages`."""
    for name in PRELOADED.split():
        importlib.import_module(name)
    site.setquit()  # python -S leaves out exit() and quit()
    sys.path[:] = [path for path in sys.path if path.startswith(sys.base_prefix)]
    sys.path.append(packages)
    sys.argv = ["program.py"]
    for name in modules:
        with contextlib.redirect_stdout(sys.stderr):  # some greet
            importlib.import_module(name)
    os.environ.clear()
    for name in _ONE_THREAD:  # for C libraries; a program's `os.environ` stays empty
        kernel.set_environment(name, "1")
    sys.set_int_max_str_digits(0)  # a program's CPU time is limited anyway


def run_script(source: bytes, arguments: list[str]) -> NoReturn:
    """A whole Python program: standard input in, standard output out."""
    sys.argv = ["program.py", *arguments]
    _finish(lambda: _load(source, _fresh_main(), "program.py"))


def run_call(request: bytes, arguments: bytes) -> NoReturn:
    """Call one function of a Python program; its result goes to `RESULT_FD` as JSON."""
    job = json.loads(request)
    values = json.loads(arguments)

    def call() -> None:
        main = _fresh_main()
        _load(_CALL_IMPORTS.encode(), main, "imports")
        _load(job["starter"].encode(errors="replace"), main, "starter.py")
        given = dict(main.__dict__)
        _load(job["program"].encode(errors="replace"), main, "program.py")
        function = _find(job["name"], main.__dict__, given)
        result = function(**values) if isinstance(values, dict) else function(*values)
        with open(RESULT_FD, "w", encoding="utf-8", closefd=False) as channel:
            json.dump(result, channel)

    _finish(call)


def load_starter(source: bytes) -> NoReturn:
    """Run what every solution of a call-style problem is preceded by."""

    def load() -> None:
        main = _fresh_main()
        _load(_CALL_IMPORTS.encode(), main, "imports")
        _load(source, main, "starter.py")

    _finish(load)


BINARY = b"./program"


def run_binary(binary: bytes, path_at: int) -> NoReturn:
    """An executable, in place of this process. Its path, BINARY, lies at the address `path_at`."""
    with open("program", "wb") as file:
        file.write(binary)
    os.chmod("program", 0o500)
    kernel.execve(path_at, b"program")
    os._exit(125)


def run_compiler(command: list[str]) -> NoReturn:
    """Compile standard input with `command`; the binary goes to `RESULT_FD`."""
    # The compiler finds its parts by way of PATH.
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": os.getcwd(), "LC_ALL": "C.UTF-8"}
    status = os.spawnve(os.P_WAIT, command[0], [*command, "-o", "program"], environment)
    if status == 0:
        with open("program", "rb") as file:
            binary = file.read()
        view = memoryview(binary)
        while view:
            view = view[os.write(RESULT_FD, view) :]
    os._exit(1 if status else 0)


def open_streams() -> None:
    """Standard streams over descriptors 0, 1 and 2, whatever those will be by the time of use."""
    streams = {
        "stdin": os.fdopen(0, "r", encoding="utf-8"),
        "stdout": os.fdopen(1, "w", encoding="utf-8"),
        "stderr": os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1),
    }
    for name, stream in streams.items():
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _fresh_main() -> ModuleType:
    """An empty `__main__`."""
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    return main


def _load(source: bytes, module: ModuleType, name: str) -> None:
    # Without dont_inherit the program would be compiled under this file's own __future__.
    code = compile(source, name, "exec", dont_inherit=True)
    exec(code, module.__dict__)  # noqa: S102 -- running it is the purpose; the jail contains it


def _find(name: str, defined: dict[str, Any], given: dict[str, Any]) -> Callable[..., Any]:
    """The program's function `name`: a method of its class Solution, or at its top level.

    What was `given` by the starter code, which has the same names, is not the program's.
    """
    solution: Any = defined.get("Solution")
    mine = solution is not None and solution is not given.get("Solution")
    if mine and hasattr(solution, name):
        method: Callable[..., Any] = getattr(solution(), name)
        return method
    function: Callable[..., Any] | None = defined.get(name)
    if function is None or function is given.get(name):
        raise NameError(f"the program defines no function {name!r}")
    return function


def _finish(work: Callable[[], None], leave: Callable[[int], NoReturn] = os._exit) -> NoReturn:
    """Do `work` and end the process as the interpreter would: threads joined, streams flushed."""
    status = 1
    try:
        try:
            work()
            status = 0
        except SystemExit as ending:
            status = _exit_status(ending.code)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        _wind_up()
    except BaseException:
        status = status or 1
    finally:
        leave(status)


def _exit_status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _wind_up() -> None:
    """What the interpreter does at its end. A full disk or a closed stream raises, and fails."""
    import atexit
    import threading

    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
