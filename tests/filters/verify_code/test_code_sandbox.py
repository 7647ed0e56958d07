"""The sandbox as a machine: nothing left behind, replaced when broken, refused when missing."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from process_tree import descendants

from filters.verify.code.cpp import BinaryCache, compile_task, compiler_missing
from filters.verify.code.verifier import CodeVerifier
from filters.verify.sandbox import Boxes, Job, Limits, Outcome, SandboxFailure, Task, available, box
from filters.verify.sandbox.inside import seccomp

ECHO = Task("script", b"print(input())", stdin=b"hello\n")
RESPONSE = "```python\nprint(input())\n```"
SPEC = {"kind": "code", "tests": {"stdin": [{"input": "a", "output": "a"}]}}
ROOT = Path(box.__file__).parents[3]


def once(task: Task) -> Job[Outcome]:
    outcome = yield task
    return outcome


def printed(boxes: Boxes, tasks: list[Task]) -> list[bytes]:
    found = dict(boxes.run(once(task) for task in tasks))
    outcomes = [found[place] for place in range(len(tasks))]
    return [outcome.stdout for outcome in outcomes if isinstance(outcome, Outcome)]


def gone(pids: set[int]) -> bool:
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_close_ends_everything(sandboxed: None) -> None:
    before = descendants()
    boxes = Boxes(2)
    assert printed(boxes, [ECHO] * 4) == [b"hello\n"] * 4
    mine = descendants() - before
    assert mine
    boxes.close()
    assert gone(mine)


def test_an_abandoned_run_ends_its_boxes(sandboxed: None) -> None:
    before = descendants()
    boxes = Boxes(2)
    sleeper = Task("script", b"import time; time.sleep(60)")
    results = boxes.run([once(ECHO), once(sleeper)])
    assert next(results)[0] == 0
    mine = descendants() - before
    assert isinstance(results, Generator)
    results.close()
    boxes.close()
    assert mine
    assert gone(mine)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_broken_box_is_replaced(
    sandboxed: None, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    monkeypatch.setattr(box, "_GRACE_S", 0.2)
    before = descendants()
    boxes = Boxes(1)
    slow = Task("script", b"import time; time.sleep(.05); print(1)", limits=Limits(wait_s=1.0))

    broken: set[int] = set()

    def job() -> Job[bytes]:
        yield ECHO
        broken.update(descendants() - before)
        for pid in broken:
            os.kill(pid, how)
        outcome = yield slow
        return outcome.stdout

    assert list(boxes.run([job()])) == [(0, b"1\n")]
    boxes.close()
    assert broken
    assert gone(broken)


def test_a_box_that_fails_twice_is_no_verdict_on_the_program(
    verifier: CodeVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: box.Box) -> Outcome:
        raise SandboxFailure("the box is stuck", stuck=True)

    assert verifier.verify([(SPEC, RESPONSE)])[0].state == "correct"
    with monkeypatch.context() as patch:
        patch.setattr(box.Box, "finish", fail)
        (verdict,) = verifier.verify([(SPEC, RESPONSE)])
    assert verdict.state == "timeout"
    assert verifier.verify([(SPEC, RESPONSE)])[0].state == "correct"


def test_dies_with_its_owner(sandboxed: None) -> None:
    script = textwrap.dedent(
        """
        import sys, time
        from filters.verify.sandbox import Boxes, Task
        def once():
            yield Task("script", b"")
        def endless():
            yield Task("script", b"import time; time.sleep(60)")
        boxes = Boxes(2)
        next(boxes.run([once(), endless()]))
        print("ready", flush=True)
        time.sleep(60)
        """
    )
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT)
    assert owner.stdout is not None
    with owner, owner.stdout:
        assert owner.stdout.readline() == b"ready\n"
        below = descendants(owner.pid)
        assert below
        owner.kill()
    assert gone(below)


def test_a_forked_copy_opens_its_own(sandboxed: None) -> None:
    boxes = Boxes(1)
    printed(boxes, [ECHO])
    child = os.fork()
    if child == 0:
        fine = printed(boxes, [ECHO]) == [b"hello\n"]
        boxes.close()
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert printed(boxes, [ECHO]) == [b"hello\n"]
    boxes.close()


def test_without_bubblewrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "install the package `bubblewrap`" in str(available())
    verifier = CodeVerifier(cache=tmp_path)
    (verdict,) = verifier.verify([(SPEC, RESPONSE)])
    assert verdict.state == "unverifiable"
    assert "bubblewrap" in str(verdict.detail)
    assert verifier.check([SPEC, {"kind": "code"}]) == [None, "tests is missing"]
    verifier.close()


def test_where_namespaces_are_forbidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refusing = tmp_path / "bwrap"
    refusing.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
    )
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    reason = str(available())
    assert "No permissions to create new namespace" in reason
    assert "sysctl" in reason


def test_the_opt_out_is_loud_and_still_limited(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        verifier = CodeVerifier(workers=1, unsafe_without_sandbox=True, cache=tmp_path)
    assert "unsafe_without_sandbox" in caplog.text
    items = [
        (SPEC, RESPONSE),
        (SPEC, "```python\nimport os\nos.fork()\n```"),
        (SPEC, "```python\nimport socket\nsocket.socket()\n```"),
        (SPEC, "```python\nopen('x', 'w').close(); print(input())\n```"),
    ]
    states = [verdict.state for verdict in verifier.verify(items)]
    assert states == ["correct", "wrong", "wrong", "correct"]
    verifier.close()
    assert not list(Path(box.__file__).parent.glob("**/x"))


SYSTEM_PYTHON = "/usr/bin/python3"
AS_ANOTHER = """
import os
from filters.verify.sandbox import Boxes, Limits, Task
from hostile_programs import HOSTILE

def job(hostile):
    outcome = yield Task("script", hostile.source.encode(), limits=Limits(2.0, 256))
    honest = yield Task("script", b"print(6 * 7)")
    fine = b"ESCAPED" not in outcome.stdout and outcome.end in hostile.ends
    return fine and honest.stdout == b"42\\n"

assert os.getuid() == 65534
quick = [hostile for hostile in HOSTILE if "time_limit" not in hostile.ends]
boxes = Boxes(1)
for place, fine in boxes.run(map(job, quick)):
    print(quick[place].name, fine)
boxes.close()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_as_an_ordinary_user(sandboxed: None) -> None:
    """With the system's Python: one in root's home is closed to others."""
    recent = "import sys; sys.exit(sys.version_info < (3, 11))"
    if subprocess.run([SYSTEM_PYTHON, "-c", recent], check=False).returncode != 0:
        pytest.skip("the system's Python is too old")
    with tempfile.TemporaryDirectory() as folder:
        for package in ("factory", "filters"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, Path(folder, package), ignore=ignored)
        shutil.copy(Path(__file__).with_name("hostile_programs.py"), folder)
        os.chmod(folder, 0o755)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        command += [SYSTEM_PYTHON, "-B", "-c", AS_ANOTHER]
        found = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, env={}
        )
    verdicts = dict(line.split() for line in found.stdout.splitlines())
    assert len(verdicts) > 30, found.stderr
    assert set(verdicts.values()) == {"True"}, verdicts


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_filters_are_well_formed(machine: str) -> None:
    profiles = [seccomp.program_filter(name, machine) for name in ("script", "binary", "compiler")]
    for program in [seccomp.zygote_filter(machine), *profiles]:
        assert len(program) % 8 == 0
        assert len(program) // 8 < 4096
    assert "socket" not in seccomp.numbers(seccomp._SYSCALLS, machine)


ENDINGS = [
    ({"status": 0}, "ok"),
    ({"status": 3}, "exit"),
    ({"status": -11}, "signal"),
    ({"status": -9, "late": "cpu", "cpu_s": 1.0}, "time_limit"),
    ({"status": 0, "cpu_s": 1.01}, "time_limit"),
    ({"status": -9, "late": "wall", "cpu_s": 0.05}, "time_limit"),  # it slept
    ({"status": -9, "late": "wall", "cpu_s": 0.9}, None),  # the machine was crowded
    ({"status": -9, "late": "wall", "cpu_s": 0.9, "queued_s": 0.1, "wall_s": 7.0}, "time_limit"),
    ({"status": -9, "late": "wall", "cpu_s": 0.9, "queued_s": 6.0, "wall_s": 7.0}, None),
]


@pytest.mark.parametrize(("report", "end"), ENDINGS)
def test_how_it_ended(report: dict[str, object], end: str | None) -> None:
    plain = {"late": None, "cpu_s": 0.1, "wall_s": 0.1, "peak_kb": 1024}
    files = {name: os.memfd_create(name) for name in ("stdout", "stderr")}
    try:
        if end is None:
            with pytest.raises(SandboxFailure):
                box._outcome({**plain, **report}, files, Limits(time_s=1.0))
        else:
            assert box._outcome({**plain, **report}, files, Limits(time_s=1.0)).end == end
    finally:
        for descriptor in files.values():
            os.close(descriptor)


def test_the_cache_forgets_what_was_used_longest_ago(tmp_path: Path) -> None:
    cache = BinaryCache(tmp_path / "cpp")
    for number, source in enumerate(["a", "b", "c"]):
        cache.put(source, bytes(100))
        os.utime(cache._path(source), (number, number))
    assert cache.get("a") == bytes(100)
    cache.prune(limit=2 * (100 + 32))  # with a digest each
    assert [cache.get(source) is not None for source in ("a", "b", "c")] == [True, False, True]


def test_a_damaged_binary_is_compiled_again(tmp_path: Path) -> None:
    cache = BinaryCache(tmp_path / "cpp")
    cache.put("source", b"binary")
    (kept,) = (tmp_path / "cpp").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    assert cache.get("source") is None
    cache.put("source", b"binary")
    assert cache.get("source") == b"binary"


EXEC_AGAIN = r"""
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv) {
    if (argc != 1 || strcmp(argv[0], "program")) { puts("ESCAPED"); return 0; }
    char *again[] = {(char *)"again", nullptr}, *none[] = {nullptr};
    execve("./program", again, none);
    printf("%d ", errno == EPERM);
    execve("/usr/bin/python3", again, none);
    printf("%d ", errno == EPERM);
    int file = open("./program", O_RDONLY);
    syscall(SYS_execveat, file, "", again, none, 0x1000);
    printf("%d ", errno == EPERM);
    fexecve(file, again, none);
    printf("%d ", errno == EPERM);
    bool refused = true;
    for (unsigned long at = 1ul << 33; at < (1ul << 33) + (1ul << 24); at += 4096) {
        char *page = (char *)mmap((void *)at, 4096, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (page == MAP_FAILED) break;
        strcpy(page, "./program");
        execve(page, again, none);
        refused = refused && errno == EPERM;
        munmap(page, 4096);
    }
    printf("%d\n", refused);
}
"""


def test_a_binary_cannot_exec_again(boxes: Boxes) -> None:
    """Not itself, not an interpreter, by no call and from no address that it can guess."""
    if (missing := compiler_missing()) is not None:
        pytest.skip(missing)

    def job() -> Job[Outcome]:
        made = yield compile_task(EXEC_AGAIN)
        assert made.end == "ok", made.stderr
        return (yield Task("binary", made.result))

    ((_, outcome),) = boxes.run([job()])
    assert isinstance(outcome, Outcome), outcome
    assert (outcome.end, outcome.stdout) == ("ok", b"1 1 1 1 1\n")
