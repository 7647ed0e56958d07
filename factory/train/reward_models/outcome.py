"""`kind: reward_model`: train a model that scores answers, on preference pairs or labels.

With `shape: stepwise` it scores their steps; see `factory.train.reward_models.stepwise`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from factory.core.errors import ModelError
from factory.core.models import model_path
from factory.train.arguments import build_arguments
from factory.train.loop import fit
from factory.train.reward_models.rows import Tokenized, tokenize
from factory.train.reward_models.stepwise import train_process_model
from factory.train.tokenizer import training_tokenizer
from factory.train.weights import lora_config, save_causal_lm

if TYPE_CHECKING:
    from rich.console import Console

    from factory.recipe.reward_model import RewardModel
    from factory.train.directory import TrainDir


def train_reward_model(recipe: RewardModel, run: TrainDir, console: Console) -> dict[str, Any]:
    """Train a reward model. Returns the final metrics, with `accuracy` on held-out questions.

    Raises ModelError for a tokenizer without a chat template, SourceError for unusable data, and
    GateError for a process reward model below `min_auc`.
    """
    tokenizer = training_tokenizer(recipe)
    if not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer of {recipe.model.id!r} has no chat template, which a reward model "
            "needs to read conversations; start from a chat model, or name one in model.tokenizer"
        )
    if recipe.shape == "stepwise":
        return train_process_model(recipe, run, console, tokenizer)
    rows = tokenize(recipe, tokenizer)
    line = f"{len(rows.train):,} rows to train on, {len(rows.validation):,} held out"
    line += f", {rows.overlong:,} left out (longer than max_length)" if rows.overlong else ""
    if run.is_main:
        console.print(line, highlight=False, markup=False)
    trainer = _trainer(recipe, run, tokenizer, rows)
    metrics = fit(trainer, run, console)
    if rows.validation:
        metrics |= trainer.evaluate()
    save_causal_lm(trainer, recipe, run, tokenizer)
    return metrics


def _model(recipe: RewardModel, tokenizer: Any) -> Any:
    import torch
    from transformers import AutoModelForSequenceClassification, set_seed

    set_seed(recipe.seed)  # the head is initialized at random
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            model_path(recipe.model.id),
            revision=recipe.model.revision,
            trust_remote_code=recipe.model.trust_remote_code,
            num_labels=1,
            dtype=torch.float32,
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model {recipe.model.id!r} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
    model.config.pad_token_id = tokenizer.pad_token_id
    if recipe.shape == "pointwise":
        # This makes transformers use the binary cross entropy of the single output.
        model.config.problem_type = "multi_label_classification"
    return model


def _trainer(recipe: RewardModel, run: TrainDir, tokenizer: Any, rows: Tokenized) -> Any:
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    config = build_arguments(
        recipe,
        RewardConfig,
        run,
        max_length=None,  # rows are tokenized already, and none is too long
        per_device_eval_batch_size=recipe.micro_batch,
        eval_strategy="no",
    )
    given: dict[str, Any] = {
        "model": _model(recipe, tokenizer),
        "args": config,
        "train_dataset": Dataset.from_list(rows.train),
        "eval_dataset": Dataset.from_list(rows.validation) if rows.validation else None,
        "processing_class": tokenizer,
    }
    if recipe.lora is not None:
        adapters = lora_config(recipe.lora)
        adapters.task_type = "SEQ_CLS"  # so that the new head is trained too
        given["peft_config"] = adapters
    if recipe.shape == "pairwise":
        return RewardTrainer(**given)
    from transformers import DataCollatorWithPadding, Trainer

    if adapters := given.pop("peft_config", None):
        from peft import get_peft_model

        given["model"] = get_peft_model(given["model"], adapters)
    collator = DataCollatorWithPadding(tokenizer)
    return Trainer(**given, data_collator=collator, compute_metrics=_label_accuracy)


def _label_accuracy(predicted: Any) -> dict[str, float]:
    """Return the share of answers whose score has the sign of their label."""
    scores, labels = predicted.predictions, predicted.label_ids
    return {"accuracy": float(((scores > 0) == (labels > 0.5)).mean())}
