"""Plays tasks of a taskset of `verifiers`, in a Python of its own. Run by its path, not imported.

    python -P verifiers_server.py list OPTIONS SIZE       # prints the first tasks as JSON lines
    python -P verifiers_server.py serve OPTIONS CONTROL   # plays episodes

OPTIONS is JSON: `taskset`, with its `id` and the keys of its configuration.

CONTROL is the number of an inherited socket. A message on it is a task, {"idx", "key", "seed",
"memory"}, and brings one end of a connection. A process forked for it plays one episode there. It
is the model's server for `verifiers`: it writes what a request shows, {"messages", "tools"}, and
reads the model's turn, {"content", "tool_calls"}. The last line is {"reward", "state"}, or
{"failure"}. The episode ends with the connection, and everything with the control socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import itertools
import json
import os
import random
import resource
import runpy
import select
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

MAX_BYTES = 64 << 20
"""The longest line of a connection, and the largest request."""

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
    return [{"role": role, "content": as_text(content)} for role, content in asked]


def as_text(content: Any) -> str:
    """Return the text of a message's content. Raises ValueError for an image."""
    if content is None or isinstance(content, str):
        return content or ""
    texts = [part if isinstance(part, dict) else part.model_dump() for part in content]
    for part in texts:
        if part.get("type") != "text":
            raise ValueError(
                f"a message holds a part of type {part.get('type')!r}; only text is played"
            )
    return "".join(part["text"] for part in texts)


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
    place = Path(__file__).with_name("verifiers_harness.py")
    found = importlib.util.spec_from_file_location(HARNESS, place)
    assert found is not None
    module = sys.modules[HARNESS] = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)  # type: ignore[union-attr]
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
            become_tool_server(argv[2], self.process_env(env), self.workdir / log)
        self._background.append(Forked(pid))

    SubprocessRuntime.run_background = run_background


def become_tool_server(module: str, env: Mapping[str, str], log: Path) -> NoReturn:
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
        sys.argv = [module]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
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
    connections: dict[int, tuple[int, socket.socket]] = {}  # its number → the process that plays
    waiting = select.poll()
    waiting.register(control, select.POLLIN)
    while True:
        for number, _ in waiting.poll(200):
            if number != control.fileno():  # the other side has hung up
                kill(connections[number][0])
                waiting.unregister(number)
                continue
            data, received, _, _ = socket.recv_fds(control, 1 << 16, 1)
            if not data:
                for pid, _ in connections.values():
                    kill(pid)
                return
            connection = socket.socket(fileno=received[0])
            others = [control, *(other for _, other in connections.values())]
            begun = begin(tasks, json.loads(data), connection, others)
            if begun is not None:
                connections[connection.fileno()] = (begun, connection)
                waiting.register(connection, select.POLLRDHUP)
        for number, (pid, connection) in list(connections.items()):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                kill(pid)  # what is left of its group
                os.waitpid(pid, 0)
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
        become_episode(tasks.environment, task, asked, connection, others)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    return pid


def kill(pid: int) -> None:
    """Kill a process group, if it is still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def become_episode(
    environment: Any,
    task: Any,
    asked: Mapping[str, Any],
    connection: socket.socket,
    others: list[socket.socket],
) -> NoReturn:
    """Play one episode, in the process just forked. Never returns."""
    status = 1
    try:
        for other in others:
            other.close()
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_DATA, (asked["memory"], asked["memory"]))
        random.seed(asked["seed"])  # else all episodes would draw the same
        asyncio.run(play(environment, task, connection))
        status = 0
    finally:
        os._exit(status)


async def play(environment: Any, task: Any, connection: socket.socket) -> None:
    import verifiers.v1 as vf

    reader, writer = await asyncio.open_unix_connection(sock=connection, limit=MAX_BYTES)
    model = Model(reader, writer)
    try:
        async with model.serving() as url:
            client = vf.EvalClientConfig(base_url=url, api_key_var="R1_FACTORY_NEEDS_NO_KEY")
            async with environment.serving():
                context = vf.ModelContext(model="policy", client=client)
                episode = await environment.run_episode(task, context)
                ended = model.failure or conclude(episode)
    except Exception as error:  # an environment may raise anything
        ended = {"failure": model.failure or describe(error)}
    await model.write(ended if isinstance(ended, dict) else {"failure": ended})


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
    metrics = {name: value for name, value in trace.metrics.items() if value is not None}
    state = {"rewards": rewards, "metrics": metrics, "stop": trace.stop_condition}
    return {"reward": sum(rewards.values()) if rewards else None, "state": state}


class Model:
    """A server of chat completions whose answers come from the other side of the connection.

    The conversation may only grow: what was shown before must stand before what is new.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._shown: list[dict[str, Any]] = []
        self._asked = asyncio.Lock()
        self.failure: str | None = None

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        from aiohttp import web

        app = web.Application(client_max_size=MAX_BYTES)
        app.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()

    async def write(self, line: Mapping[str, Any]) -> None:
        self._writer.write(json.dumps(line).encode() + b"\n")
        await self._writer.drain()

    async def _answer(self, request: Any) -> Any:
        from aiohttp import web

        body = await request.json()
        try:
            message = await self._ask(body)
        except ValueError as error:
            self.failure = str(error)
            return web.json_response({"error": {"message": str(error)}}, status=400)
        head: dict[str, Any] = {
            "id": f"turn-{len(self._shown)}",
            "created": int(time.time()),
            "model": "policy",
        }
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": reason}
            whole = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
            return web.json_response(whole)
        calls = [
            {"index": place, **call} for place, call in enumerate(message.get("tool_calls", []))
        ]
        delta = {**message, "tool_calls": calls} if calls else message
        chunks: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": usage},
        ]
        lines = [
            json.dumps({**head, "object": "chat.completion.chunk", **chunk}) for chunk in chunks
        ]
        text = "".join(f"data: {line}\n\n" for line in (*lines, "[DONE]"))
        return web.Response(text=text, content_type="text/event-stream")

    async def _ask(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Show what is new in a request, and return the model's message. Raises ValueError."""
        if self._asked.locked():
            raise ValueError("its harness asks the model twice at once, which is not played")
        async with self._asked:
            messages = [read_message(message) for message in body["messages"]]
            known = len(self._shown)
            if messages[:known] != self._shown or len(messages) <= known:
                raise ValueError(
                    "its harness changed what the model had read or written before; only a "
                    "conversation that grows can be played"
                )
            await self.write({"messages": messages[known:], "tools": body.get("tools") or []})
            line = await self._reader.readline()
            if not line:
                raise ValueError("the episode was ended")
            action = json.loads(line)
            message: dict[str, Any] = {"role": "assistant", "content": action["content"]}
            if action["tool_calls"]:
                message["tool_calls"] = [write_call(call) for call in action["tool_calls"]]
            self._shown = [*messages, read_message(message)]
            return message


def write_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call with its arguments as JSON text, as servers write them."""
    function = call["function"]
    arguments = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {"name": function["name"], "arguments": arguments}}


def read_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return what counts of a message. Raises ValueError for what is not text."""
    read: dict[str, Any] = {"role": message["role"], "content": as_text(message.get("content"))}
    if calls := message.get("tool_calls"):
        read["calls"] = [
            (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in calls
        ]
    if message.get("tool_call_id"):
        read["tool_call_id"] = message["tool_call_id"]
    return read


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]))
