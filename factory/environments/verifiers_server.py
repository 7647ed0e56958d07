"""Plays tasks of a taskset of `verifiers`, in a Python of its own. Run by its path, not imported.

    python -P verifiers_server.py list OPTIONS SIZE       # prints the first tasks as JSON lines
    python -P verifiers_server.py serve OPTIONS CONTROL   # plays episodes

OPTIONS is JSON: `taskset`, with its `id` and the keys of its configuration.

CONTROL is the number of an inherited socket. A message on it is a task, {"idx", "key", "seed",
"memory"}, and brings one end of a connection. A process forked for it plays one episode there. It
is the model's server for `verifiers`: it writes what a request shows, {"messages", "tools"}, and
reads the model's turn, {"content", "tool_calls"}. The last line is {"reward", "state"}, or
{"failure"}. The episode ends with the connection, and everything with the control socket.

Between this server and an episode stands its keeper, which ends with it whatever it has started.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import importlib.util
import itertools
import json
import math
import os
import random
import resource
import runpy
import select
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

HARNESS = "r1_factory_chat"
"""The name under which `verifiers` finds the chat loop."""

PRELOADED = (
    "aiohttp.web",
    "httpx",
    "mcp.client.streamable_http",
    "mcp.server.mcpserver",
    "uvicorn",
)
"""What `verifiers` imports late: once here, and not in each episode."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def load_beside(file: str, name: str) -> Any:
    """Return a module of this folder, loaded under a name that no taskset has."""
    found = importlib.util.spec_from_file_location(name, Path(__file__).with_name(file))
    assert found is not None
    module = sys.modules[name] = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)  # type: ignore[union-attr]
    return module


model = load_beside("verifiers_model.py", "r1_factory_model")


def main(what: str, options: Mapping[str, Any], number: int) -> None:
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a taskset may print as it goes
    if what == "list":
        list_tasks(options, number, lines)
    else:
        serve(options, socket.socket(fileno=number))


def list_tasks(options: Mapping[str, Any], size: int, lines: Any) -> None:
    def write(**line: Any) -> None:
        print(json.dumps(line), file=lines, flush=True)

    try:
        taskset = open_environment(options).taskset
        for task in itertools.islice(taskset, size):
            place = {"place": f"{options['taskset']['id']}[{task.data.idx}]"}
            try:
                messages = opening(task.data)
            except ValueError as error:
                write(**place, reason="no_question", detail=str(error))
                continue
            write(**place, idx=task.data.idx, key=task.key, messages=messages)
    except Exception as error:  # a taskset may raise anything
        write(refused=describe(error))


def opening(data: Any) -> list[dict[str, str]]:
    """Return the messages that a task begins with. Raises ValueError where they are not text."""
    if data.prompt is None:
        raise ValueError("the task has no prompt; it needs a simulated user, which is not played")
    asked = [("user", data.prompt)]
    if not isinstance(data.prompt, str):
        asked = [(message.role, message.content) for message in data.prompt]
        if any(
            message.role == "tool" or getattr(message, "tool_calls", None)
            for message in data.prompt
        ):
            raise ValueError("the prompt holds calls of tools")
    if data.system_prompt:
        asked.insert(0, ("system", data.system_prompt))
    messages = [{"role": role, "content": model.as_text(content)} for role, content in asked]
    if not any(message["content"].strip() for message in messages if message["role"] == "user"):
        raise ValueError("the prompt has no text")
    return messages


def open_environment(options: Mapping[str, Any]) -> Any:
    """Return the environment of a taskset, with one agent in subprocesses of this machine."""
    import verifiers.v1 as vf
    from verifiers.v1.configs.agent import agent_config_fields
    from verifiers.v1.utils.loaders import default_harness_id

    taskset = dict(options["taskset"])
    own = default_harness_id(taskset["id"])  # `bash`, where the taskset brings none
    harness = {"id": add_harness() if own == "bash" else own}
    roles = agent_config_fields(vf.env_config_type(taskset["id"])())
    if len(roles) != 1:
        raise ValueError(f"its environment plays {', '.join(roles)}; only one agent can be played")
    # The model's time is the factory's affair, so that no deadline counts it.
    seat = {"harness": harness, "runtime": {"type": "subprocess"}, "timeout": {"rollout": 1e9}}
    config = vf.resolve_env_config({"taskset": taskset, next(iter(roles)): seat})
    return vf.load_environment(config)


def add_harness() -> str:
    """Make the chat loop known to `verifiers` as a plugin. Returns its name."""
    load_beside("verifiers_harness.py", HARNESS)
    return HARNESS


class Forked:
    """A process that was forked, with what `verifiers` asks of a process that it started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    async def wait(self) -> int:
        while self.returncode is None:
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                self.returncode = 0
            else:
                await asyncio.sleep(0.02)
        return self.returncode


def fork_tool_servers() -> None:
    """Let servers of tools be forked, which saves each of them the seconds of its imports."""
    from verifiers.v1.runtimes import SubprocessRuntime

    start = SubprocessRuntime.run_background

    async def run_background(self: Any, argv: list[str], env: dict[str, str], log: str) -> None:
        if argv[:2] != [sys.executable, "-m"]:
            await start(self, argv, env, log)
            return
        pid = os.fork()
        if pid == 0:
            become_tool_server(argv[2:], self.process_env(env), self.workdir / log)
        self._background.append(Forked(pid))

    SubprocessRuntime.run_background = run_background


def become_tool_server(argv: list[str], env: Mapping[str, str], log: Path) -> NoReturn:
    """Run a module as `python -m` does, in the process just forked. Never returns."""
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        asyncio._set_running_loop(None)
        for name in [name for name in os.environ if "API_KEY" in name.upper()]:
            del os.environ[name]  # as `verifiers` does
        os.environ.update(env)
        os.chdir(log.parent)
        output = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv = argv
        runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
        status = 0
    finally:
        os._exit(status)


def describe(error: BaseException) -> str:
    lines = f"{type(error).__name__}: {error}".strip().splitlines()
    return " ".join(line.strip() for line in lines)[:1000]


class Tasks:
    """The tasks of an environment, read as far as needed."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.failure: str | None = None
        self._read: list[Any] = []
        try:
            self.environment = open_environment(options)
            self._rest: Iterator[Any] = iter(self.environment.taskset)
        except Exception as error:  # a taskset may raise anything
            self.failure = describe(error)

    def find(self, number: int, key: str) -> Any:
        """Return a task. Raises ValueError if there is none, or if it is another one by now."""
        if self.failure is not None:
            raise ValueError(self.failure)
        self._read += itertools.islice(self._rest, max(0, number + 1 - len(self._read)))
        if number >= len(self._read):
            raise ValueError(f"the taskset has only {len(self._read)} tasks")
        task = self._read[number]
        if task.key != key:
            raise ValueError(f"task {number} is another one than when the prompts were loaded")
        return task


def serve(options: Mapping[str, Any], control: socket.socket) -> None:
    """Play episodes until nobody is left who could ask for one."""
    tasks = Tasks(options)
    if tasks.failure is None:
        fork_tool_servers()
        for name in PRELOADED:
            importlib.import_module(name)
    connections: dict[int, tuple[int, socket.socket]] = {}  # its number → the episode's keeper
    waiting = select.poll()
    waiting.register(control, select.POLLIN)
    while True:
        for number, _ in waiting.poll(200):
            if number != control.fileno():  # the other side has hung up
                os.kill(connections[number][0], signal.SIGTERM)
                waiting.unregister(number)
                continue
            data, received, _, _ = socket.recv_fds(control, 1 << 16, 1)
            if not data:
                return  # which ends the keepers, and they their episodes
            connection = socket.socket(fileno=received[0])
            others = [control, *(other for _, other in connections.values())]
            begun = begin(tasks, json.loads(data), connection, others)
            if begun is not None:
                connections[connection.fileno()] = (begun, connection)
                waiting.register(connection, select.POLLRDHUP)
        for number, (pid, connection) in list(connections.items()):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del connections[number]
                with contextlib.suppress(KeyError):
                    waiting.unregister(number)
                connection.close()


def begin(
    tasks: Tasks, asked: Mapping[str, Any], connection: socket.socket, others: list[socket.socket]
) -> int | None:
    """Fork a process that plays a task. Returns its id; None if the task cannot be played."""
    try:
        task = tasks.find(asked["idx"], asked["key"])
    except Exception as error:  # a taskset may raise anything
        with contextlib.suppress(OSError), connection:
            connection.sendall(json.dumps({"failure": describe(error)}).encode() + b"\n")
        return None
    pid = os.fork()
    if pid == 0:
        become_keeper(tasks.environment, task, asked, connection, others)
    return pid


def become_keeper(
    environment: Any,
    task: Any,
    asked: Mapping[str, Any],
    connection: socket.socket,
    others: list[socket.socket],
) -> NoReturn:
    """Let a process play one episode, and end with it all that it started. Never returns.

    Programs of a taskset run in sessions of their own, which no signal to a group ends. What is
    orphaned below this process becomes its child. SIGTERM, or the server's end, ends the episode.
    """
    status = 1
    try:
        for other in others:
            other.close()
        folder = tempfile.mkdtemp(prefix="episode-")
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # until it is known whom to end
        playing = os.fork()
        if playing == 0:
            become_episode(environment, task, asked, connection, folder)
        connection.close()

        def end(*_: object) -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(playing, signal.SIGKILL)

        signal.signal(signal.SIGTERM, end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        keep(playing)
        shutil.rmtree(folder, ignore_errors=True)
        status = 0
    finally:
        os._exit(status)


def keep(playing: int) -> None:
    """Wait until a child has ended, then end all others, adopted ones included."""
    ended = False
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, _ = os.wait()
            if pid == playing:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                ended = True
            if ended:
                kill_children()


def kill_children() -> None:
    """Kill all direct children. Theirs are adopted then, and killed by the next call."""
    own = os.getpid()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # the process has just ended
            if int(stat.read_text().rpartition(")")[2].split()[1]) == own:
                os.kill(int(stat.parent.name), signal.SIGKILL)


def become_episode(
    environment: Any, task: Any, asked: Mapping[str, Any], connection: socket.socket, folder: str
) -> NoReturn:
    """Play one episode in a folder of its own, in the process just forked. Never returns."""
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        runtimes: Any = importlib.import_module("verifiers.v1.runtimes.subprocess")
        runtimes.CACHE_DIR = Path(folder)  # where programs work
        resource.setrlimit(resource.RLIMIT_DATA, (asked["memory"], asked["memory"]))
        random.seed(asked["seed"])  # else all episodes would draw the same
        asyncio.run(play(environment, task, connection))
        status = 0
    finally:
        os._exit(status)


async def play(environment: Any, task: Any, connection: socket.socket) -> None:
    import verifiers.v1 as vf

    limit = model.MAX_BYTES
    reader, writer = await asyncio.open_unix_connection(sock=connection, limit=limit)
    policy = model.Model(reader, writer)
    try:
        async with policy.serving() as url:
            client = vf.EvalClientConfig(base_url=url, api_key_var="R1_FACTORY_NEEDS_NO_KEY")
            async with environment.serving():
                context = vf.ModelContext(model="policy", client=client)
                episode = await environment.run_episode(task, context)
                ended = policy.failure or conclude(episode)
    except Exception as error:  # an environment may raise anything
        ended = {"failure": policy.failure or describe(error)}
    await policy.write(ended if isinstance(ended, dict) else {"failure": ended})


def conclude(episode: Any) -> dict[str, Any]:
    """Return what an episode earned, or why it has no value."""
    errors = [*episode.errors, *(error for trace in episode.traces for error in trace.errors)]
    if not episode.ok or len(episode.traces) != 1:
        last = errors[-1] if errors else None
        what = f"{last.type}: {last.message}" if last else f"{len(episode.traces)} agents played"
        return {"failure": " ".join(what.split())[:1000]}
    trace = episode.traces[0]
    if trace.is_timeout:
        return {"failure": f"a deadline of the task's own passed: {trace.stop_condition}"}
    rewards = {name: earned.value for name, earned in trace.rewards.items() if earned is not None}
    metrics = {
        name: value if math.isfinite(value) else str(value)  # JSON has no NaN
        for name, value in trace.metrics.items()
        if value is not None
    }
    state = {"rewards": rewards, "metrics": metrics, "stop": trace.stop_condition}
    return {"reward": sum(rewards.values()) if rewards else None, "state": state}


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]))
