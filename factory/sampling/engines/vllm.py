"""Embedded vLLM: runs in this process and is driven step by step (continuous batching).

Stepping is the fastest way to embed vLLM on one machine. Batches that wait for their longest sample
took 1.27 times as long at 128 requests and 1.54 times as long at 64 (heavy-tailed lengths).
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.core.errors import EngineError, MissingDependency, ModelError, Problem, RecipeError
from factory.core.machine import cpu_computes_bf16, has_gpu
from factory.core.models import DEMO, DEMO_NAME, model_path
from factory.core.nouns import Failure, FailureKind, FinishReason, Sample, Turn, fingerprint
from factory.core.parallel import spawning
from factory.prompts.conversation import continue_episode
from factory.sampling.early_stop import Watch, make_watch
from factory.sampling.engine import Engine, Request, Worker
from factory.sampling.engines.supervisor import EngineDied, Supervisor

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec

KEPT_STOPS = frozenset({"</answer>"})
"""Stop strings that stay part of the text. vLLM removes stop strings."""


def cpu_args() -> dict[str, Any]:
    """Return vLLM's arguments for a machine without a GPU.

    Measured on two cores with a 135M model: eager mode starts in 2 s instead of 41 s. 256 sequences
    give 1.35 times the throughput of 64, and blocks of 32 tokens 1.4 times that of 128.
    """
    return {
        "dtype": "bfloat16" if cpu_computes_bf16() else "float32",
        "enforce_eager": True,
        "max_num_seqs": 256,
        "block_size": 32,
    }


class VllmEngine:
    """One embedded vLLM engine."""

    def __init__(self, spec: EngineSpec, run: Path, seed: int) -> None:
        self.spec = spec
        self.model_name = DEMO_NAME if spec.model.id == DEMO else spec.model.id
        self._rendered_for: tuple[str, str | None] = ("", None)  # prompt, variant
        self._rendered = ("", "", list[int]())
        self._keep = frozenset(spec.sampling.keep)
        self._pending: dict[str, _Pending] = {}
        self._ended: list[Sample | Failure] = []  # ended without a step: refused or aborted
        with _redirect_output(run / "engine.log"), hide_module("llvmlite.binding.ffi"):
            self._engine = _start(engine_args(spec, seed), spec)
        _monitor_engine_process(self._engine.engine_core)
        self._death: Exception | None = None  # raised while a request was added
        tokenizer = self._engine.get_tokenizer()
        self._tokenizer = tokenizer
        config = self._engine.vllm_config
        self.max_model_len: int = config.model_config.max_model_len
        self.capacity: int = spec.engine.max_in_flight or 2 * config.scheduler_config.max_num_seqs
        self._levels: dict[tuple[int, str | None, tuple[str, ...]], tuple[Any, str]] = {}

    def submit(self, request: Request) -> None:
        from vllm.v1.engine.exceptions import EngineDeadError

        prompt_text, prefill, tokens = self._tokens(request)
        if len(tokens) >= self.max_model_len:
            detail = (
                f"the prompt has {len(tokens)} tokens, the context {self.max_model_len}; raise "
                "engine.args.max_model_len or drop the prompt"
            )
            self._ended.append(_refuse(request, "prompt_too_long", detail))
            return
        params, params_fp = self._settings(request)
        if request.max_tokens is not None and request.max_tokens < params.max_tokens:
            params = params.clone()
            params.max_tokens = request.max_tokens
        try:
            self._engine.add_request(request.sample_id, {"prompt_token_ids": tokens}, params)
        except ValueError as error:
            self._ended.append(_refuse(request, "bad_request", str(error)))
            return
        except EngineDeadError as error:
            self._death = error
            return
        self._pending[request.sample_id] = _Pending(
            request,
            prompt_text,
            prefill,
            len(tokens),
            params_fp,
            make_watch(self.spec.sampling.early_stop, request.prompt, prefill),
        )

    def completed(self) -> Iterator[Sample | Failure]:
        yield from self._ended
        self._ended.clear()
        if self._death is not None:
            raise EngineDied(str(self._death)) from self._death
        if not self._pending:
            return
        try:
            outputs = self._engine.step()
        except Exception as error:
            # vLLM raises any error of its model, kernels or worker processes. After any of them
            # the engine is unusable, and the Supervisor starts another.
            raise EngineDied(f"{type(error).__name__}: {error}") from error
        for output in outputs:
            pending = self._pending[output.request_id]
            completion = output.outputs[0]
            pending.pieces.append(completion.text)
            pending.n_tokens += len(completion.token_ids)
            if pending.request.turns is not None or self._keep:
                pending.token_ids.extend(completion.token_ids)
            if completion.logprobs is not None:
                pending.logprobs += _chosen_logprobs(completion)
            if completion.finish_reason is not None:
                stop = completion.stop_reason
                if isinstance(stop, str) and stop in KEPT_STOPS | {*pending.request.stop}:
                    pending.pieces.append(stop)
                reason: FinishReason = "length" if completion.finish_reason == "length" else "stop"
                yield self._finish(output.request_id, reason)
            elif pending.watch is not None:
                halt = pending.watch.feed(completion.text, pending.n_tokens)
                if halt is not None:
                    self._engine.abort_request([output.request_id])
                    yield self._finish(output.request_id, halt.finish_reason, halt.keep)

    def abort(self, sample_ids: Iterable[str]) -> None:
        running = [name for name in sample_ids if name in self._pending]
        self._engine.abort_request(running)
        self._ended.extend(self._finish(name, "abort") for name in running)

    def workers(self) -> list[Worker]:
        return []

    def close(self) -> None:
        import gc

        self._pending.clear()
        self._engine = None  # frees its processes and memory
        gc.collect()

    def _tokens(self, request: Request) -> tuple[str, str, list[int]]:
        """Return prompt text, prefill and token ids. The last prompt is cached.

        Of an episode the text is that of its first turn; the ids are those of all turns.
        """
        key = (request.prompt.id, request.variant(self.spec))
        prompting = self.spec.prompting.with_variant(key[1])
        if request.turns:
            found = continue_episode(prompting, request.prompt, request.turns, self._tokenizer)
            return found.opening, found.prefill, found.ids
        if self._rendered_for != key:
            rendered = prompting.render(request.prompt, self._tokenizer)
            tokens = self._tokenizer.encode(
                rendered.prompt_text + rendered.prefill,
                add_special_tokens=rendered.special_tokens,
            )
            self._rendered = (rendered.prompt_text, rendered.prefill, tokens)
            self._rendered_for = key
        return self._rendered

    def _settings(self, request: Request) -> tuple[Any, str]:
        """Return vLLM's SamplingParams of a request, and the fingerprint of its settings."""
        level, variant = request.level, request.variant(self.spec)
        key = (level, variant, request.stop)
        if key not in self._levels:
            params = self._sampling_params(level, request.stop)
            self._levels[key] = params, self.spec.params_fp(level, variant)
        return self._levels[key]

    def _sampling_params(self, level: int, stop: tuple[str, ...]) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = self.spec.sampling.at(level)
        # No per-request seed: it crashes vLLM's CPU backend and makes a prompt's samples equal.
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
            max_tokens=sampling.max_tokens,
            stop=[*self.spec.prompting.stop, *sampling.stop, *stop],
            logprobs=0 if "logprobs" in self._keep else None,
            # Template tokens inside a text are a defect and must stay visible.
            skip_special_tokens=False,
            spaces_between_special_tokens=False,
            output_kind=RequestOutputKind.DELTA,
        )

    def _finish(self, name: str, reason: FinishReason, keep: int | None = None) -> Sample:
        """Return the sample of a request that ended. `keep` limits its text in characters."""
        pending = self._pending.pop(name)
        text = (pending.prefill + "".join(pending.pieces))[:keep]
        created_at = time.time_ns() // 1_000_000
        return Sample(
            prompt_id=pending.request.prompt.id,
            index=pending.request.index,
            text=text,
            prompt_text=pending.prompt_text,
            finish_reason=reason,
            n_tokens=pending.n_tokens,
            n_prompt_tokens=pending.n_prompt_tokens,
            model=self.model_name,
            params_fp=pending.params_fp,
            created_at=created_at,
            turns=self._turns(pending, text, reason, created_at),
        )

    def _turns(
        self, pending: _Pending, text: str, reason: FinishReason, created_at: int
    ) -> tuple[Turn, ...] | None:
        """Return the one turn of an episode's request, or of a sample whose tokens are kept."""
        episode = pending.request.turns is not None
        if not episode and not self._keep:
            return None
        turn = Turn(
            role="assistant",
            text=text,
            finish_reason=reason,
            n_tokens=pending.n_tokens,
            n_prompt_tokens=pending.n_prompt_tokens,
            token_ids=tuple(pending.token_ids) if episode or "token_ids" in self._keep else None,
            logprobs=tuple(pending.logprobs) if "logprobs" in self._keep else None,
            created_at=created_at,
        )
        return (turn,)


@dataclasses.dataclass(slots=True)
class _Pending:
    """A request in the engine and its output so far."""

    request: Request
    prompt_text: str
    prefill: str
    n_prompt_tokens: int
    params_fp: str
    watch: Watch | None
    pieces: list[str] = dataclasses.field(default_factory=list)
    n_tokens: int = 0
    token_ids: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[float] = dataclasses.field(default_factory=list)


def _chosen_logprobs(completion: Any) -> list[float]:
    """Return the log-probabilities of the tokens that were sampled."""
    return [
        float(known[token].logprob)
        for token, known in zip(completion.token_ids, completion.logprobs, strict=True)
    ]


def _refuse(request: Request, kind: FailureKind, detail: str) -> Failure:
    return Failure(request.prompt.id, request.index, kind, detail, retryable=False)


def open_engine(spec: EngineSpec, run: Path, start: int) -> Engine:
    """Open the `vllm` engine: one supervised engine in this process."""
    prepare_environment()

    def make(restart: int) -> VllmEngine:
        # An engine restarted with its old seed would generate its old samples again.
        seed = int(fingerprint([spec.sampling.seed, start, restart], 7), 16)
        return VllmEngine(spec, run, seed)

    return Supervisor(make, spec.engine.max_restarts, run)


def prepare_environment() -> None:
    """Set vLLM's environment variables unless they are set. Call it before vLLM's first import."""
    defaults = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
    if not has_gpu():
        defaults |= {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_KVCACHE_SPACE": str(_cpu_kv_gigabytes()),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
            "OMP_WAIT_POLICY": "passive",
        }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def _cpu_kv_gigabytes() -> int:
    """Return a sixth of the machine's memory, between 1 and 16 GB."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(16, memory // 6 // 2**30))


def check_engine_args(args: dict[str, Any]) -> list[Problem]:
    """Check `engine.args` against the installed vLLM. Returns the problems."""
    if not args:
        return []  # importing vLLM takes seconds
    known = [field.name for field in dataclasses.fields(_engine_args_class())]
    problems = []
    for name in args:
        if name in known and name not in ("model", "tokenizer", "revision", "seed"):
            continue
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        what = f"is not an engine argument of the installed vLLM{hint}"
        if name in known:
            what = "is set by the recipe's model and sampling sections; set it there"
        problems.append(Problem(f"engine.args.{name}", what))
    return problems


def engine_args(spec: EngineSpec, seed: int) -> Any:
    """Return vLLM's EngineArgs for a recipe. Raises RecipeError for unknown arguments."""
    problems = check_engine_args(spec.engine.args)
    if problems:
        raise RecipeError(problems)
    model = spec.model
    arguments: dict[str, Any] = {
        "model": model_path(model.id),
        "tokenizer": model.tokenizer,
        "revision": model.revision,
        "trust_remote_code": model.trust_remote_code,
        "seed": seed,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "stream_interval": 16,
        "enable_prefix_caching": True,
        **({} if has_gpu() else cpu_args()),
        **spec.engine.args,
    }
    return _engine_args_class()(**arguments)


def _engine_args_class() -> Any:
    try:
        from vllm.engine.arg_utils import EngineArgs
    except ImportError as error:
        raise MissingDependency(
            f"sampling needs vLLM, which is not installed here ({error}). Install the extra `gpu`, "
            "or `cpu` on a machine without one; `factory doctor` says what is missing."
        ) from error
    return EngineArgs


def _start(args: Any, spec: EngineSpec) -> Any:
    from vllm.v1.engine.llm_engine import LLMEngine

    try:
        with spawning():  # vLLM starts processes where there are several GPUs
            return LLMEngine.from_engine_args(args)
    except (OSError, ValueError) as error:
        # transformers and vLLM raise these two if a model is missing or doesn't fit.
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ModelError(
            f"model {spec.model.id!r} cannot be loaded: {reason}. Check the name, the network or "
            "the token for a private model, and engine.args. See engine.log in the run directory "
            "for the engine's output."
        ) from error
    except (RuntimeError, MemoryError) as error:
        raise EngineError(
            f"vLLM could not start: {error}. See engine.log in the run directory. To use less "
            "memory, lower engine.args.max_model_len, gpu_memory_utilization or "
            "VLLM_CPU_KVCACHE_SPACE."
        ) from error


@contextlib.contextmanager
def hide_module(module: str) -> Iterator[None]:
    """Remove a module from sys.modules for a while.

    vLLM's CPU start-up (0.32) reads every attribute of every module and fails on the library
    wrapper of llvmlite, which numba imports.
    """
    known = sys.modules.pop(module, None)
    try:
        yield
    finally:
        if known is not None:
            sys.modules[module] = known


def _monitor_engine_process(client: Any) -> None:
    """Unblock the client of an engine process that was killed.

    With GPUs vLLM's engine is a separate process, whose client waits for output. When the process
    dies, vLLM 0.32 marks it as dead but does not wake the waiting client.
    """
    if not hasattr(client, "outputs_queue"):
        return  # the engine is in this process
    # Not the client itself: a reference from a thread would keep its process alive.
    watched = client.resources, client.outputs_queue
    threading.Thread(target=_wait_for_death, args=watched, name="engine-death", daemon=True).start()


def _wait_for_death(resources: Any, outputs: queue.Queue[Any]) -> None:
    from vllm.v1.engine.exceptions import EngineDeadError

    while not resources.engine_dead:  # also set when it is closed
        time.sleep(0.5)
    outputs.put(EngineDeadError())


@contextlib.contextmanager
def _redirect_output(log: Path) -> Iterator[None]:
    """Redirect stdout and stderr to a file, at the level of file descriptors."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with open(log, "ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)
