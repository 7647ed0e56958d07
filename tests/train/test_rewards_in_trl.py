"""TRL's own trainer with the factory's rewards: two steps of a model of a few thousand weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.train.tiny import write_model

SCRIPT = """
with open({counter!r}, "a") as stream:
    stream.write("x")

import factory
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

rows = [{{"prompt": [{{"role": "user", "content": f"{{n}} + 1 = ?"}}], "answer": str(n + 1)}}
        for n in range(8)]
trainer = GRPOTrainer(
    model={model!r},
    reward_funcs=[
        factory.reward("accuracy", reference="answer", think="optional"),
        factory.reward("language"),
        factory.reward("overlong", max_tokens=8, buffer=4),
    ],
    args=GRPOConfig(
        output_dir={out!r}, max_steps=2, per_device_train_batch_size=4, num_generations=2,
        max_completion_length=8, logging_steps=1, report_to="none", use_cpu=True,
        save_strategy="no", disable_tqdm=True,
    ),
    train_dataset=Dataset.from_list(rows),
)
trainer.train()
logged = [row for row in trainer.state.log_history if "rewards/accuracy/mean" in row]
print(len(logged), sorted(key for key in logged[0] if key.startswith("rewards/")))
"""


@pytest.mark.real(engine=False)
def test_trl_trains_with_them_in_a_plain_script(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    counter, script = tmp_path / "ran", tmp_path / "train.py"
    script.write_text(
        SCRIPT.format(counter=str(counter), model=str(model), out=str(tmp_path / "out")),
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    steps, *names = done.stdout.splitlines()[-1].split(" ", 1)
    assert steps == "2"
    for name in ("accuracy", "language", "overlong"):
        assert f"rewards/{name}/mean" in names[0]
    assert counter.read_text() == "x"
