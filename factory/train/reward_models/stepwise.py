"""`shape: stepwise`: train a process reward model, measure it, and write it if it is good enough.

A classifier of tokens with one output. The loss is the binary cross entropy at the last token of
each labelled step (Math-Shepherd, arXiv 2312.08935). All other tokens have no loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from factory.core.errors import GateError, ModelError, SourceError
from factory.core.models import model_path
from factory.train.arguments import build_arguments
from factory.train.loop import fit
from factory.train.reward_models.step_metrics import ScoredAnswer, measure_steps
from factory.train.reward_models.step_rows import (
    LabelledAnswer,
    LabelledAnswers,
    tokenize_steps,
)
from factory.train.weights import lora_config, save_causal_lm
from filters.judges.classifier import sigmoid
from filters.judges.process_model import RULE_KEY

if TYPE_CHECKING:
    from rich.console import Console

    from factory.recipe.reward_model import RewardModel
    from factory.train.directory import TrainDir

NO_LABEL = -100.0
"""The label of a token at which no step ends."""

GATED = {"auc": "pooled", "auc_within": "within questions"}
"""The metrics that `min_auc` is for."""


def train_process_model(
    recipe: RewardModel, run: TrainDir, console: Console, tokenizer: Any
) -> dict[str, Any]:
    """Train a process reward model. Returns the final metrics; those of held-out steps say `eval_`.

    Prints the metrics before the model is written. Raises GateError if an AUC is below `min_auc`:
    then there is no model, and the metrics are in log.jsonl. Raises SourceError for unusable data.
    """
    rows = tokenize_steps(recipe, tokenizer)
    _refuse_one_sided(recipe, rows)
    if run.is_main:
        for line in _describe_rows(recipe, rows):
            console.print(line, highlight=False, markup=False)
    trainer = _make_trainer(recipe, run, tokenizer, rows)
    metrics = fit(trainer, run, console)
    if rows.validation:
        found = trainer.evaluate()
        metrics |= {key: value for key, value in found.items() if value == value}
        if run.is_main:
            console.print(format_metrics(found), highlight=False, markup=False)
        refuse_below(recipe.min_auc, found)
    setattr(trainer.accelerator.unwrap_model(trainer.model).config, RULE_KEY, recipe.step_rule)
    save_causal_lm(trainer, recipe, run, tokenizer)
    return metrics


def format_metrics(found: dict[str, float]) -> str:
    """Return the metrics of held-out steps in one line."""

    def show(name: str) -> str:
        value = found.get(f"eval_{name}")
        return "unknown" if value is None else f"{value:.3f}"

    return (
        f"held-out steps: AUC {show('auc')} pooled, {show('auc_within')} within questions (their "
        f"position alone: {show('auc_position')}); first error found in {show('first_error')} of "
        f"the wrong answers, none in {show('all_good')} of the right ones"
    )


def refuse_below(least: float | None, found: dict[str, float]) -> None:
    """Raise GateError if an AUC of held-out steps is below `least` or unknown."""
    if least is None:
        return
    problems = []
    for name, where in GATED.items():
        value = found.get(f"eval_{name}")
        if value is None:
            problems.append(
                f"the AUC {where} is unknown, since no held-out question has good and bad steps"
            )
        elif value < least:
            problems.append(f"the AUC {where} is {value:.3f}, below min_auc: {least:g}")
    if problems:
        raise GateError(
            f"{'; '.join(problems)} (0.5 is guessing). No model was written, since its scores "
            "would choose answers hardly better than chance. Use more labels or rollouts per "
            "step, a stronger base model, or labels: soft; or hold out more questions "
            "(validation). To write this model anyway, run the same command with --set min_auc=null"
        )


def _refuse_one_sided(recipe: RewardModel, rows: LabelledAnswers) -> None:
    """Raise SourceError where the steps to train on, or those held out, are all good or all bad."""
    parts = {"to train on": rows.train}
    if recipe.min_auc is not None:
        parts["held out"] = rows.validation
    for what, part in parts.items():
        good = {label > recipe.good_above for one in part for label in one.labels}
        if len(good) < 2:
            said = "there is none" if not good else f"all are {'good' if True in good else 'bad'}"
            raise SourceError(
                f"{recipe.data}: of the steps {what} {said} (good_above: {recipe.good_above:g}), "
                "so nothing can be learnt; label more questions, or hold out a larger share "
                f"(validation: {recipe.validation:g})"
            )


def _describe_rows(recipe: RewardModel, rows: LabelledAnswers) -> list[str]:
    steps = [label for one in rows.train for label in one.labels]
    good = sum(label > recipe.good_above for label in steps) / len(steps)
    held = sum(len(one.labels) for one in rows.validation)
    line = (
        f"{len(steps):,} steps of {len(rows.train):,} answers to train on ({good:.0%} good), "
        f"{held:,} steps of {len(rows.validation):,} answers held out"
    )
    lines = [
        line + (f", {rows.overlong:,} left out (longer than max_length)" * bool(rows.overlong))
    ]
    if rows.cut_otherwise:
        count = len(rows.train) + len(rows.validation)
        lines.append(
            f"{rows.cut_otherwise:,} of {count:,} answers have another number of steps than "
            f"step_rule: {recipe.step_rule} cuts, as it will when answers are scored"
        )
    return lines


def _load_model(recipe: RewardModel, tokenizer: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForTokenClassification, set_seed

    set_seed(recipe.seed)  # the head is initialized at random
    source = {
        "revision": recipe.model.revision,
        "trust_remote_code": recipe.model.trust_remote_code,
    }
    path = model_path(recipe.model.id)
    try:
        config = AutoConfig.from_pretrained(path, num_labels=1, **source)
        config.classifier_dropout = 0.0  # transformers' default, 0.1, is not for one output
        model = AutoModelForTokenClassification.from_pretrained(
            path, config=config, dtype=torch.float32, **source
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model {recipe.model.id!r} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
    model.config.pad_token_id = tokenizer.pad_token_id
    return model


def _make_trainer(recipe: RewardModel, run: TrainDir, tokenizer: Any, rows: LabelledAnswers) -> Any:
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    class StepTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped here
        """Computes the loss at step ends alone."""

        model_accepts_loss_kwargs = False  # the loss is a mean over the steps of a micro batch

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any
        ) -> Any:
            labels = inputs.pop("labels")
            outputs = model(**inputs)
            loss = compute_step_loss(outputs.logits[..., 0], labels)
            return (loss, outputs) if return_outputs else loss

        def prediction_step(
            self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
        ) -> Any:
            import torch

            inputs = self._prepare_inputs(inputs)
            labels = inputs["labels"]
            with torch.no_grad():
                loss, outputs = self.compute_loss(model, dict(inputs), return_outputs=True)
            return loss.detach(), outputs.logits[..., 0].float(), labels

    config = build_arguments(
        recipe,
        TrainingArguments,
        run,
        per_device_eval_batch_size=recipe.micro_batch,
        eval_strategy="no",
        remove_unused_columns=False,
        label_names=["labels"],
    )
    model = _load_model(recipe, tokenizer)
    if recipe.lora is not None:
        from peft import get_peft_model

        adapters = lora_config(recipe.lora)
        adapters.task_type = "TOKEN_CLS"  # so that the new head is trained too
        adapters.exclude_modules = ["score", "classifier"]  # which is trained whole
        model = get_peft_model(model, adapters)
    return StepTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list([make_features(recipe, one) for one in rows.train]),
        eval_dataset=Dataset.from_list([make_features(recipe, one) for one in rows.validation])
        if rows.validation
        else None,
        processing_class=tokenizer,
        data_collator=lambda features: pad_features(features, tokenizer.pad_token_id),
        compute_metrics=lambda found: measure_steps(
            read_scores(found.predictions, rows.validation, recipe.good_above)
        ),
    )


def make_features(recipe: RewardModel, one: LabelledAnswer) -> dict[str, list[Any]]:
    """Return an answer's token ids, and a label for each token; NO_LABEL where no step ends."""
    labels = [NO_LABEL] * len(one.ids)
    for place, label in zip(one.places, one.labels, strict=True):
        labels[place] = label if recipe.labels == "soft" else float(label > recipe.good_above)
    return {"input_ids": one.ids, "labels": labels}


def pad_features(features: Sequence[dict[str, list[Any]]], pad: int) -> dict[str, Any]:
    """Return features of several lengths as one batch, padded on the right."""
    import torch

    longest = max(len(one["input_ids"]) for one in features)

    def fill(rows: list[list[Any]], value: float) -> Any:
        return torch.tensor([row + [value] * (longest - len(row)) for row in rows])

    ids = [one["input_ids"] for one in features]
    return {
        "input_ids": fill(ids, pad),
        "attention_mask": fill([[1] * len(row) for row in ids], 0),
        "labels": fill([one["labels"] for one in features], NO_LABEL).float(),
    }


def compute_step_loss(logits: Any, labels: Any) -> Any:
    """Return the mean binary cross entropy over the tokens with a label."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    known = labels != NO_LABEL
    return binary_cross_entropy_with_logits(logits[known].float(), labels[known])


def read_scores(
    logits: Any, answers: Sequence[LabelledAnswer], good_above: float
) -> list[ScoredAnswer]:
    """Return the scores of the labelled steps of answers. `logits` has one row of tokens each."""
    return [
        ScoredAnswer(
            one.question,
            [sigmoid(float(row[place])) for place in one.places],
            [label > good_above for label in one.labels],
            one.numbers,
        )
        for one, row in zip(answers, logits, strict=True)
    ]
