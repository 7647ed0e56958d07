"""A task file for SkyPilot, for `sky jobs launch`: spot machines, and recovery on another one."""

from __future__ import annotations

from typing import Any

from factory.launch.needs import LOST, Needs
from factory.launch.yaml_text import write_yaml

RUNS = "/runs"
RECIPE, LAUNCH = "/tmp/recipe.yaml", "/tmp/accelerate.yaml"

PORT = 6399
"""Port of the run's own Ray cluster. SkyPilot has one of its own at another."""

_BIN = "~/factory/bin"

_SETUP = f"""\
test -x {_BIN}/factory || python3 -m venv ~/factory
{_BIN}/pip install --quiet "$FACTORY_PACKAGE"
"""

_RAY = f"""\
head=$(echo "$SKYPILOT_NODE_IPS" | head -n1)
export RAY_ADDRESS=$head:{PORT} RAY_AUTH_MODE=token
if [ "$SKYPILOT_NODE_RANK" != 0 ]; then
    until {_BIN}/ray start --address="$RAY_ADDRESS"; do sleep 5; done
    while {_BIN}/ray status >/dev/null 2>&1; do sleep 10; done
    exit 0
fi
{_BIN}/ray start --head --port={PORT}
trap '{_BIN}/ray stop' EXIT
"""


def write_task(needs: Needs, written_by: str, gpu: str, bucket: str) -> str:
    """Return the task file. `bucket`, such as s3://mine/runs, holds the runs.

    Raises RecipeError for a pipeline of one's own, whose steps are files.
    """
    needs.refuse_files()
    resources: dict[str, Any] = {
        "cpus": f"{needs.cpus}+",
        "memory": f"{needs.memory_gb}+",
        "use_spot": True,
        "job_recovery": {"recover_on_exit_codes": [LOST]},
    }
    if needs.gpus:
        resources["accelerators"] = f"{gpu.upper()}:{needs.gpus_per_node}"
    task: dict[str, Any] = {
        "name": needs.name.lower().replace("_", "-").replace(".", "-"),
        "num_nodes": needs.nodes,
        "resources": resources,
        "envs": {"FACTORY_PACKAGE": _package(needs), "HF_HOME": "/tmp/huggingface"},
        "file_mounts": {RUNS: {"source": bucket, "mode": "MOUNT_CACHED"}},
        "setup": _SETUP,
        "run": _script(needs),
    }
    keys = [*needs.keys, *(["RAY_AUTH_TOKEN"] * needs.ray)]
    if keys:
        task["secrets"] = dict.fromkeys(keys)
    given = "".join(f" --secret {key}" for key in keys)
    start = f"Start it with sky jobs launch{given}."
    return write_yaml(needs.comments(written_by, start), [task])


def _package(needs: Needs) -> str:
    extras = {"train": ["train"], "run": ["gpu", "train"]}.get(needs.command, ["gpu"])
    extras = extras * (needs.gpus > 0) + ["ray"] * needs.ray
    return f"r1-factory[{','.join(extras)}]" if extras else "r1-factory"


def _script(needs: Needs) -> str:
    text = "set -e\n"
    if not needs.shipped:
        text += _here_document(RECIPE, needs.text)
    arguments = needs.carried_arguments(RECIPE, f"{RUNS}/{needs.name}")
    if needs.launch is None:
        return f"{text}{_RAY if needs.ray else ''}{_BIN}/factory {arguments}\n"
    text += _here_document(LAUNCH, needs.launch.read_text(encoding="utf-8"))
    options = f"--config_file {LAUNCH} --num_processes {needs.gpus}"
    if needs.nodes > 1:
        text += 'head=$(echo "$SKYPILOT_NODE_IPS" | head -n1)\n'
        options += f" --num_machines {needs.nodes} --machine_rank $SKYPILOT_NODE_RANK"
        options += " --main_process_ip $head --main_process_port 29500"
    return f"{text}{_BIN}/accelerate launch {options} -m factory.cli {arguments}\n"


def _here_document(file: str, text: str) -> str:
    """Return shell lines that write a text to a file, whatever is in it."""
    end = "END"
    while end in text.splitlines():
        end += "-"
    return f"cat > {file} <<'{end}'\n{text.rstrip()}\n{end}\n"
