"""`factory serve`: starts, monitors and restarts vLLM servers on this machine."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from factory.core.errors import EngineError, RecipeError
from factory.core.models import DEMO, DEMO_NAME, model_path
from factory.core.nouns import fingerprint
from factory.core.stop_signals import collect_signals
from factory.sampling.engines.placement import assign_devices, visible_gpus
from factory.sampling.engines.vllm import check_engine_args, cpu_args, prepare_environment

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec

Command = Callable[[int, int], Sequence[str]]
"""(port, seed) → the command line of a server."""

_MODULE = "vllm.entrypoints.openai.api_server"  # the `vllm` command of vLLM's CPU build is broken
_PROBE_S = 5.0
_MAX_MISSED_PROBES = 6
_START_TIMEOUT_S = 1800.0
_TERM_S = 15.0
_LONGEST_PAUSE_S = 60.0
_PDEATHSIG = 1


@dataclass(slots=True)
class _Server:
    """One server: its port, its current process and its counters."""

    number: int
    port: int
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    started_at: float = 0.0
    next_start: float = 0.0
    next_probe: float = 0.0
    ready: bool = False
    unready_deaths: int = 0  # since it was last ready
    missed: int = 0  # probes in a row, since it was last ready


class ServerGroup:
    """Servers that are restarted when they die. Call `poll()` regularly; `close()` ends them all.

    Each start uses a new seed: two servers with the same seed generate the same samples, and so
    does a server restarted with its old seed.
    """

    def __init__(
        self,
        command: Command,
        ports: Sequence[int],
        environments: Sequence[Mapping[str, str]],
        logs: Path,
        seed: int | None = None,
        note: Callable[[str], None] = lambda line: None,
        max_failed_starts: int = 3,
    ) -> None:
        self._command, self._note, self._max_failed = command, note, max_failed_starts
        self._seed = secrets.randbits(31) if seed is None else seed
        logs.mkdir(parents=True, exist_ok=True)
        self._servers = [
            _Server(number, port, environment, logs / f"server-{port}.log")
            for number, (port, environment) in enumerate(zip(ports, environments, strict=True))
        ]
        self._client = httpx.Client(timeout=_PROBE_S, trust_env=False)

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{server.port}/v1" for server in self._servers]

    @property
    def ready(self) -> list[str]:
        """The URLs of the servers that passed their last health check."""
        known = zip(self._servers, self.urls, strict=True)
        return [url for server, url in known if server.ready]

    @property
    def pids(self) -> list[int | None]:
        return [server.process.pid if server.process else None for server in self._servers]

    def poll(self) -> None:
        """Start servers that are not running and probe those that are.

        Raises EngineError with the end of its log if a server keeps dying before it is ready.
        """
        now = time.monotonic()
        for server in self._servers:
            if server.process is None:
                if now >= server.next_start:
                    self._start(server, now)
            elif server.process.poll() is not None:
                self._reap(server, f"died (exit status {server.process.returncode})")
            elif now >= server.next_probe:
                self._probe(server, now)

    def close(self) -> None:
        """End every process: SIGTERM first, SIGKILL after a timeout."""
        for server in self._servers:
            if server.process is not None:
                _signal_group(server.process, signal.SIGTERM)
        deadline = time.monotonic() + _TERM_S
        for server in self._servers:
            if server.process is not None:
                try:
                    server.process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    self._note(f"port {server.port}: did not stop; killed")
                # Its own children may outlive it.
                _signal_group(server.process, signal.SIGKILL)
                server.process.wait()
                server.process = None
            server.ready = False
        self._client.close()

    def _start(self, server: _Server, now: float) -> None:
        seed = int(fingerprint([self._seed, server.number, server.starts], 7), 16)
        with open(server.log, "ab") as log:
            server.process = subprocess.Popen(
                self._command(server.port, seed),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **server.environment},
                start_new_session=True,  # no Ctrl-C from the terminal; one group to kill
                preexec_fn=_end_with_parent,
            )
        server.starts += 1
        server.started_at = now
        server.next_probe = now
        server.missed = 0
        self._note(f"port {server.port}: started as process {server.process.pid}, log {server.log}")

    def _probe(self, server: _Server, now: float) -> None:
        server.next_probe = now + (_PROBE_S if server.ready else 0.5)
        try:
            healthy = self._client.get(f"http://127.0.0.1:{server.port}/health").is_success
        except httpx.HTTPError:
            healthy = False
        if healthy:
            if not server.ready:
                took = time.monotonic() - server.started_at
                self._note(f"port {server.port}: ready after {took:.0f} s")
            server.ready, server.missed, server.unready_deaths = True, 0, 0
        elif server.ready:
            server.missed += 1
            if server.missed >= _MAX_MISSED_PROBES:
                self._reap(server, f"missed {server.missed} health checks")
        elif now - server.started_at > _START_TIMEOUT_S:
            self._reap(server, f"was not ready after {_START_TIMEOUT_S:.0f} s")

    def _reap(self, server: _Server, why: str) -> None:
        """Kill what is left of a server and schedule its next start. Raises as `poll` does."""
        assert server.process is not None
        _signal_group(server.process, signal.SIGKILL)
        server.process.wait()
        server.process = None
        server.unready_deaths += 0 if server.ready else 1
        server.ready = False
        if server.unready_deaths >= self._max_failed:
            tail = server.log.read_text(errors="replace").splitlines()[-15:]
            raise EngineError(
                f"the server on port {server.port} {why} {server.unready_deaths} times before it "
                f"was ready. The end of {server.log}:\n" + "\n".join(f"  {line}" for line in tail)
            )
        pause = min(_LONGEST_PAUSE_S, 2.0**server.unready_deaths - 1)
        server.next_start = time.monotonic() + pause
        self._note(f"port {server.port}: {why}; starts again in {pause:.0f} s")


def serve(
    spec: EngineSpec,
    replicas: int = 1,
    port: int = 8000,
    host: str = "127.0.0.1",
    logs: Path = Path("runs/serve"),
    note: Callable[[str], None] = lambda line: print(line, flush=True),
) -> None:
    """Serve the recipe's model until Ctrl-C or SIGTERM. VLLM_API_KEY sets an API key."""
    group = open_group(spec, replicas, port, host, logs, note)
    announced = False
    with collect_signals() as ended:
        try:
            while not ended:
                group.poll()
                if not announced and len(group.ready) == replicas:
                    note(f"engine: {{kind: server, server: {{urls: [{', '.join(group.urls)}]}}}}")
                    announced = True
                time.sleep(0.2)
        finally:
            group.close()


def open_group(
    spec: EngineSpec,
    replicas: int,
    port: int,
    host: str,
    logs: Path,
    note: Callable[[str], None],
) -> ServerGroup:
    """Create servers of the recipe's model on consecutive ports, each on its own accelerators."""
    problems = check_engine_args(spec.engine.args)
    if problems:
        raise RecipeError(problems)
    prepare_environment()
    environments = assign_devices(replicas, spec.engine.args, visible_gpus(), os.cpu_count() or 1)
    ports = range(port, port + replicas)
    command = vllm_command(spec, host, cpu=not visible_gpus())
    return ServerGroup(command, ports, environments, logs, note=note)


def vllm_command(spec: EngineSpec, host: str, cpu: bool) -> Command:
    """Return the command of vLLM's OpenAI server for a recipe's model and engine arguments."""
    model = spec.model
    arguments: dict[str, Any] = {
        "model": model_path(model.id),
        "served_model_name": DEMO_NAME if model.id == DEMO else model.id,
        "tokenizer": model.tokenizer,
        "revision": model.revision,
        "trust_remote_code": model.trust_remote_code or None,
        "host": host,
        "generation_config": "vllm",  # ignore the model's generation_config.json
        "uvicorn_log_level": "warning",
        "enable_prefix_caching": True,
        **(cpu_args() if cpu else {}),
        **spec.engine.args,
    }

    def command(port: int, seed: int) -> list[str]:
        return [
            sys.executable,
            "-m",
            _MODULE,
            *format_flags({**arguments, "port": port, "seed": seed}),
        ]

    return command


def format_flags(arguments: Mapping[str, Any]) -> list[str]:
    """Format keyword arguments as command-line flags for vLLM's parser."""
    flags: list[str] = []
    for name, value in arguments.items():
        flag = "--" + name.replace("_", "-")
        if value is None:
            continue
        if isinstance(value, bool):
            flags.append(flag if value else "--no-" + flag[2:])
        elif isinstance(value, dict):
            flags += [flag, json.dumps(value)]
        elif isinstance(value, list | tuple):
            flags += [flag, *map(str, value)]
        else:
            flags += [flag, str(value)]
    return flags


def _end_with_parent() -> None:
    """Make the child end with its parent, even if that is killed. Runs before the program."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGTERM)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # already gone, with all its children
        os.killpg(process.pid, number)
