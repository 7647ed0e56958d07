"""Run by LLaMA-Factory's own Python in an export's folder: its arguments, table and loader."""

import os
import sys
from pathlib import Path

os.environ["DISABLE_VERSION_CHECK"] = "1"

import yaml
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer

config = yaml.safe_load(Path("sft.yaml").read_text(encoding="utf-8"))
# Neither affects the data, but both need a GPU.
config |= {"bf16": False, "packing": False, "neat_packing": False, "use_cpu": True}
config["output_dir"] = sys.argv[1]
model_args, data_args, training_args, _, _ = get_train_args(config)
module = load_tokenizer(model_args)
template = get_template_and_fix_tokenizer(module["tokenizer"], data_args)
loaded = get_dataset(template, model_args, data_args, training_args, stage="sft", **module)
rows = loaded["train_dataset"]
for row in rows:
    trained = module["tokenizer"].decode([token for token in row["labels"] if token != -100])
    assert trained.rstrip().endswith(module["tokenizer"].eos_token), trained
    assert "</think>" in trained, trained
print(f"rows {len(rows)}")
