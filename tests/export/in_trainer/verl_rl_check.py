"""Run by verl's own Python in the folder of a GRPO launch: config, data class and reward function.

The reward function is called if the factory can be imported in verl's environment.
"""

import asyncio
import inspect
from importlib.util import find_spec
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from transformers import AutoTokenizer
from verl.trainer.config import algorithm  # noqa: F401 (registers what the config names)
from verl.trainer.ppo.reward import get_custom_reward_fn
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.dataset.rl_dataset import RLHFDataset

with initialize_config_dir(str(Path.cwd()), version_base=None):
    config = compose("grpo")
OmegaConf.resolve(config.data)
actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
rollout = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
assert config.data.train_batch_size % actor.ppo_mini_batch_size == 0
assert actor.loss_agg_mode in ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum-norm")

model = config.actor_rollout_ref.model
tokenizer = AutoTokenizer.from_pretrained(model.path)
tokenizer.chat_template = model.custom_chat_template or tokenizer.chat_template
dataset = RLHFDataset(list(config.data.train_files), tokenizer, config.data)
row = dataset[0]
text = tokenizer.apply_chat_template(row["raw_prompt"], add_generation_prompt=True, tokenize=False)
print("prompt", repr(text))
assert row["reward_model"]["ground_truth"]

if find_spec("factory") and find_spec("polars"):
    compute_score = get_custom_reward_fn(config)
    for answer in ("7", "8"):
        result = compute_score(
            data_source=row["data_source"],
            solution_str=f"<think>\nWell.\n</think>\n\n\\boxed{{{answer}}}",
            ground_truth=row["reward_model"]["ground_truth"],
            extra_info=row["extra_info"],
        )
        result = asyncio.run(result) if inspect.isawaitable(result) else result
        print("score", result["score"])
print("rollouts", rollout.n)
print(f"rows {len(dataset)}")
