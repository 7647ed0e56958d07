"""vLLM inside this process, driven step by step so that it is fed continuously.

The step loop is the fastest way to embed vLLM on one machine: a batch that waits for its longest
member took 1.27 times as long at 128 requests, 1.54 times at 64 (heavy-tailed lengths).
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
from factory.core.hardware import cpu_computes_bf16, has_gpu
from factory.core.models import DEMO, DEMO_NAME, model_path
from factory.core.nouns import Failure, FailureKind, FinishReason, Sample, fingerprint
from factory.core.parallel import spawning
from factory.sampling.early_stop import Watch, watch_for
from factory.sampling.engine import Engine, Request, Worker
from factory.sampling.engines.supervisor import EngineDied, Supervisor

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec

KEPT_STOPS = frozenset({"</answer>"})
"""Stop strings that belong to the text; vLLM leaves a stop string out."""


def cpu_args() -> dict[str, Any]:
    """vLLM's arguments for a machine without a GPU.

    Measured on two cores with a 135M model: eager starts in 2 s instead of 41 s; 256 sequences
    give 1.35 times the rate of 64; blocks of 32 tokens 1.4 times the rate of 128.
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
        self._rendered_for, self._rendered = "", ("", "", list[int]())
        self._pending: dict[str, _Pending] = {}
        self._ended: list[Sample | Failure] = []  # ended without a step: refused or aborted
        with _quiet(run / "engine.log"), hidden("llvmlite.binding.ffi"):
            self._engine = _start(engine_args(spec, seed), spec)
        _wake_at_death(self._engine.engine_core)
        self._death: Exception | None = None  # met while a request was handed over
        tokenizer = self._engine.get_tokenizer()
        self._tokenizer = tokenizer
        config = self._engine.vllm_config
        self.max_model_len: int = config.model_config.max_model_len
        self.capacity: int = spec.engine.max_in_flight or 2 * config.scheduler_config.max_num_seqs
        self._levels: dict[int, tuple[Any, str]] = {}

    def submit(self, request: Request) -> None:
        from vllm.v1.engine.exceptions import EngineDeadError

        prompt_text, prefill, tokens = self._tokens(request)
        if len(tokens) >= self.max_model_len:
            detail = (
                f"the prompt has {len(tokens)} tokens, the context {self.max_model_len}; raise "
                "engine.args.max_model_len or drop the prompt"
            )
            self._ended.append(_refusal(request, "prompt_too_long", detail))
            return
        params, params_fp = self._settings(request.level)
        try:
            self._engine.add_request(request.sample_id, {"prompt_token_ids": tokens}, params)
        except ValueError as error:
            self._ended.append(_refusal(request, "bad_request", str(error)))
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
            watch_for(self.spec.sampling.early_stop, request.prompt, prefill),
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
            # vLLM raises whatever its model, kernel or worker process raised: any of it means that
            # this engine is gone, and the supervisor starts another.
            raise EngineDied(f"{type(error).__name__}: {error}") from error
        for output in outputs:
            pending = self._pending[output.request_id]
            completion = output.outputs[0]
            pending.pieces.append(completion.text)
            pending.n_tokens += len(completion.token_ids)
            if completion.finish_reason is not None:
                stop = completion.stop_reason
                if isinstance(stop, str) and stop in KEPT_STOPS:
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
        self._engine = None  # its processes and memory go with it; a second close finds nothing
        gc.collect()

    def _tokens(self, request: Request) -> tuple[str, str, list[int]]:
        """Prompt text, prefill and token ids; a prompt's samples come in a row, so one is kept."""
        if self._rendered_for != request.prompt.id:
            rendered = self.spec.prompting.render(request.prompt, self._tokenizer)
            tokens = self._tokenizer.encode(
                rendered.prompt_text + rendered.prefill,
                add_special_tokens=rendered.special_tokens,
            )
            self._rendered = (rendered.prompt_text, rendered.prefill, tokens)
            self._rendered_for = request.prompt.id
        return self._rendered

    def _settings(self, level: int) -> tuple[Any, str]:
        """vLLM's SamplingParams of an escalation level and their fingerprint."""
        if level not in self._levels:
            self._levels[level] = self._sampling_params(level), self.spec.params_fp(level)
        return self._levels[level]

    def _sampling_params(self, level: int) -> Any:
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
            stop=[*self.spec.prompting.stop, *sampling.stop],
            # A template's token inside a text is a defect to be seen, not to be hidden.
            skip_special_tokens=False,
            spaces_between_special_tokens=False,
            output_kind=RequestOutputKind.DELTA,
        )

    def _finish(self, name: str, reason: FinishReason, keep: int | None = None) -> Sample:
        """The sample of a request that ended; `keep` cuts its text."""
        pending = self._pending.pop(name)
        return Sample(
            prompt_id=pending.request.prompt.id,
            index=pending.request.index,
            text=(pending.prefill + "".join(pending.pieces))[:keep],
            prompt_text=pending.prompt_text,
            finish_reason=reason,
            n_tokens=pending.n_tokens,
            n_prompt_tokens=pending.n_prompt_tokens,
            model=self.model_name,
            params_fp=pending.params_fp,
            created_at=time.time_ns() // 1_000_000,
        )


@dataclasses.dataclass(slots=True)
class _Pending:
    """A request in the engine and what has come of it so far."""

    request: Request
    prompt_text: str
    prefill: str
    n_prompt_tokens: int
    params_fp: str
    watch: Watch | None
    pieces: list[str] = dataclasses.field(default_factory=list)
    n_tokens: int = 0


def _refusal(request: Request, kind: FailureKind, detail: str) -> Failure:
    return Failure(request.prompt.id, request.index, kind, detail, retryable=False)


def open_engine(spec: EngineSpec, run: Path, start: int) -> Engine:
    """The `vllm` engine: one, in this process, supervised."""
    prepare_environment()

    def make(restart: int) -> VllmEngine:
        # An engine started again with its old seed draws its old samples again.
        seed = int(fingerprint([spec.sampling.seed, start, restart], 7), 16)
        return VllmEngine(spec, run, seed)

    return Supervisor(make, spec.engine.max_restarts, run)


def prepare_environment() -> None:
    """vLLM's switches that must be set before its first import; what is set already stays."""
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
    """A sixth of the machine's memory, between 1 and 16 GB."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(16, memory // 6 // 2**30))


def check_engine_args(args: dict[str, Any]) -> list[Problem]:
    """What is wrong with `engine.args`, by the installed vLLM's own list."""
    known = [field.name for field in dataclasses.fields(_engine_args_class())]
    problems = []
    for name in args:
        if name in known and name not in ("model", "tokenizer", "revision", "seed"):
            continue
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        what = f"is no engine argument of this vLLM{hint}"
        if name in known:
            what = "is set by the recipe's model and sampling sections; set it there"
        problems.append(Problem(f"engine.args.{name}", what))
    return problems


def engine_args(spec: EngineSpec, seed: int) -> Any:
    """vLLM's EngineArgs for a recipe. Raises RecipeError for arguments vLLM does not have."""
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
        # transformers and vLLM say "no such model" and "does not fit" with these two.
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"model {spec.model.id!r} cannot be loaded: {reason}. Check the name, the network or "
            "the token for a private model, and engine.args; engine.log in the run directory has "
            "the engine's own words."
        ) from error
    except (RuntimeError, MemoryError) as error:
        raise EngineError(
            f"vLLM could not start: {error}. See engine.log in the run directory; less memory: "
            "engine.args.max_model_len, gpu_memory_utilization, or VLLM_CPU_KVCACHE_SPACE."
        ) from error


@contextlib.contextmanager
def hidden(module: str) -> Iterator[None]:
    """Take a module out of sight: vLLM's CPU start-up looks at every attribute of every module, and
    fails on llvmlite's library wrapper (vLLM 0.32), which numba brings along."""
    known = sys.modules.pop(module, None)
    try:
        yield
    finally:
        if known is not None:
            sys.modules[module] = known


def _wake_at_death(client: Any) -> None:
    """End the wait for an engine process that was killed.

    Where vLLM's engine is a process of its own, as with GPUs, its client waits for output for ever:
    the thread that sees the process die (vLLM 0.32) marks it dead and tells nobody who waits.
    """
    if not hasattr(client, "outputs_queue"):
        return  # the engine is in this process
    # Not the client itself: held by a thread, it would never be collected, nor its process ended.
    watched = client.resources, client.outputs_queue
    threading.Thread(target=_await_death, args=watched, name="engine-death", daemon=True).start()


def _await_death(resources: Any, outputs: queue.Queue[Any]) -> None:
    from vllm.v1.engine.exceptions import EngineDeadError

    while not resources.engine_dead:  # set at an ordinary end, too
        time.sleep(0.5)
    outputs.put(EngineDeadError())


@contextlib.contextmanager
def _quiet(log: Path) -> Iterator[None]:
    """Send what vLLM's libraries print while they load to a file, at the level of descriptors."""
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
