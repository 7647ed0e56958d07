"""Tokens per second of the same requests with four ways of driving the engine, on the demo model.

    python benchmarks/sampling.py [--prompts 32] [--rounds 2]

(a) `factory build`, embedded; (b) vLLM's own `LLM.generate` for all requests at once; (c) a loop
over batches of 128, as in pipelines that filter between batches; (d) `factory build` with one vLLM
server on this machine.

All have the same engine settings, the best known here, with 128 concurrent sequences, and the same
list of lengths: log-normal, like reasoning, with a median of 48 tokens and a maximum of 640. Each
request generates exactly its number of tokens (`ignore_eos`, no stop strings), so that short
samples give no advantage. Only (a) and (d) include judging.

Each side is a separate process, one after another. Its rate counts from the first request to the
last token, without loading. For (a) and (d) it ends when everything is judged and on disk.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BATCH = 128
MEDIAN, SPREAD, LONGEST = 48, 1.0, 640
PORT = 8377

RECIPE = """
name: throughput
model: demo
sources:
  - {{kind: gym, task: chain_sum, config: {{min_terms: 2, max_terms: 4, min_digits: 1,
      max_digits: 3}}, size: {prompts}, verifier: math, domain: math, language: en}}
prompting: {{template: few_shot, prefill: "<think>\\n"}}
engine: {{args: {{max_num_seqs: {batch}, max_model_len: 2048}}}}
sampling: {{n: 8, temperature: 0.7, top_k: 50, max_tokens: {longest}}}
filters: {{format: {{}}, length: {{}}, repetition: {{}}, language: {{}}, readability: {{}},
  correctness: {{}}}}
"""


def length(sample_id: str) -> int:
    """Return the number of tokens of a sample, the same for all sides."""
    spread = random.Random(sample_id).lognormvariate(0, SPREAD)
    return max(4, min(LONGEST, round(MEDIAN * spread)))


def build_side(recipe: Path, run: Path, *changes: str) -> dict[str, float]:
    """Run the factory, with only the length of each request changed."""
    from rich.console import Console

    from factory.build.build import build
    from factory.core.files import read_lines
    from factory.core.run_dir import engine_seconds
    from factory.recipe.build import load_recipe
    from factory.sampling.engines import openai_api, vllm

    class OwnLengths(vllm.VllmEngine):
        def submit(self, request: Any) -> None:
            self._sample_id = request.sample_id
            super().submit(request)

        def _settings(self, level: int) -> tuple[Any, str]:
            params, fingerprint = super()._settings(level)
            own = params.clone()
            own.max_tokens, own.ignore_eos, own.stop = length(self._sample_id), True, []
            return own, fingerprint

    class OwnLengthsWire(openai_api.Wire):
        def body(self, ask: Any, served: Any, max_tokens: int | None = None) -> dict[str, Any]:
            body = super().body(ask, served, max_tokens)
            if max_tokens is None:
                body |= {"max_tokens": length(ask.sample_id), "ignore_eos": True, "stop": []}
            return body

    from factory.sampling.engines import server

    vllm.VllmEngine, server.Wire = OwnLengths, OwnLengthsWire  # type: ignore[misc, attr-defined]
    build(load_recipe(recipe, changes), run, Console(quiet=True))
    (stopped,) = [e for e in read_lines(run / "events.jsonl") if e["event"] == "engine_stopped"]
    return {"tokens": stopped["tokens"], "seconds": engine_seconds(run)}


def generate_side(recipe_file: Path, size: int) -> dict[str, float]:
    """Run `LLM.generate` on batches of `size`; 0: on everything at once."""
    from factory.core.nouns import sample_id
    from factory.prompts.load import load_prompts
    from factory.recipe.build import load_recipe
    from factory.sampling.engines.vllm import engine_args, hide_module, prepare_environment

    prepare_environment()
    recipe = load_recipe(recipe_file)
    args = engine_args(recipe.engine_spec, 1)
    from vllm import LLM, SamplingParams

    kept = ("dtype", "enforce_eager", "max_num_seqs", "max_model_len", "block_size", "seed")
    with hide_module("llvmlite.binding.ffi"):
        llm = LLM(args.model, enable_prefix_caching=True, **{k: getattr(args, k) for k in kept})
    sampling = recipe.sampling
    texts, params = [], []
    for prompt in load_prompts(recipe.sources).prompts:
        rendered = recipe.prompting.render(prompt)
        for index in range(sampling.n):
            texts.append(rendered.prompt_text + rendered.prefill)
            params.append(
                SamplingParams(
                    temperature=sampling.temperature,
                    top_k=sampling.top_k,
                    max_tokens=length(sample_id(prompt.id, index)),
                    ignore_eos=True,
                )
            )
    started, tokens, step = time.monotonic(), 0, size or len(texts)
    for first in range(0, len(texts), step):
        batch = slice(first, first + step)
        outputs = llm.generate(texts[batch], params[batch], use_tqdm=False)
        tokens += sum(len(output.outputs[0].token_ids) for output in outputs)
    return {"tokens": tokens, "seconds": time.monotonic() - started}


@contextmanager
def served(recipe: Path) -> Iterator[str]:
    """Run one vLLM server by `factory serve`. Yields the engine section of a recipe for it."""
    command = [str(Path(sys.executable).with_name("factory")), "serve", str(recipe)]
    process = subprocess.Popen(
        [*command, "--port", str(PORT)], stdout=subprocess.PIPE, text=True, cwd=recipe.parent
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("engine:"):
                yield line.removeprefix("engine:").strip()
                return
        raise SystemExit(f"the vLLM server did not start; see {recipe.parent}/runs/serve")
    finally:
        process.terminate()
        process.wait()


def measure(side: str, *arguments: object) -> dict[str, float]:
    """Run a side in a separate process."""
    command = [sys.executable, __file__, "--side", side, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Tokens a second, driven four ways.")
    parser.add_argument("--prompts", type=int, default=32, help="eight samples each")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--side", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side, recipe, *rest = options.side
        if side == "generate":
            print(json.dumps(generate_side(Path(recipe), int(rest[0]))))
        else:
            print(json.dumps(build_side(Path(recipe), Path(rest[0]), *rest[1:])))
        return
    rates: dict[str, list[float]] = {}

    def note(name: str, found: dict[str, float]) -> None:
        rates.setdefault(name, []).append(found["tokens"] / found["seconds"])
        line = f"{found['tokens']:>9,.0f} tokens{found['seconds']:>7.1f} s"
        print(f"{name:<22}{line}{rates[name][-1]:>8,.0f} tokens/s", flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = folder / "recipe.yaml"
        content = RECIPE.format(prompts=options.prompts, batch=BATCH, longest=LONGEST)
        recipe.write_text(content)
        for number in range(options.rounds):
            note("(a) factory build", measure("build", recipe, folder / f"run-{number}"))
            note("(b) LLM.generate", measure("generate", recipe, 0))
            note(f"(c) batches of {BATCH}", measure("generate", recipe, BATCH))
        with served(recipe) as engine:
            note("(d) one vLLM server", measure("build", recipe, folder / "s", f"engine={engine}"))
    a, b, c, d = (statistics.median(found) for found in rates.values())
    for claim, value, target in (
        ("build_over_generate_tokens_per_s", a / b, 0.97),
        (f"build_over_batches_of_{BATCH}", a / c, 1.1),
        (f"server_over_batches_of_{BATCH}", d / c, 1.0),
    ):
        holds = value >= target
        line = {"name": claim, "value": round(value, 3), "target": target, "holds": holds}
        print(json.dumps(line))


if __name__ == "__main__":
    main()
