"""The files that `factory launch` writes, read as the programs that get them would read them.

Slurm, SkyPilot and KubeRay's schema read them too, where they are there: set SKY_PYTHON and
KUBE_PYTHON to interpreters with `skypilot` and `kubernetes-validate`, KUBERAY_CRD to KubeRay's
definition of RayJob, and have a Slurm cluster that `sinfo` finds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from factory.cli import cli
from factory.cli.reference_cluster import CLUSTER, EXAMPLES
from factory.core.errors import CapacityError, FactoryError, RecipeError
from factory.core.run_dir import sample_parts
from factory.launch.needs import FAILS, find_needs
from tests.recorded import recipe_file, record

SERVER = """
name: Mine_v1.0
model: some/model
sources: [{kind: files, path: /data/rows.jsonl, verifier: {kind: math}}]
engine:
  kind: server
  server: {urls: ["https://api.example/v1"], api: chat, api_key_env: EXAMPLE_KEY}
filters: {correctness: {}}
notify_env: SLACK
"""


def launch(*words: object) -> str:
    """Run the command; returns what it wrote."""
    done = CliRunner().invoke(cli, ["launch", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    name = done.stdout.partition("wrote ")[2].partition(";")[0]
    return Path(name).read_text()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


NEEDS = [
    ("quickstart", (), None, 0, 1),  # the demo model runs on CPUs
    ("quickstart", (), 1, 1, 1),
    ("quickstart", ("engine.kind=replay", "engine.replay=x"), None, 0, 1),
    ("r1/corpus", (), None, 0, 1),  # an assembly
    ("r1/reasoning_math", (), None, 8, 1),
    ("r1/reasoning_math", ("engine.kind=ray", "engine.replicas=1"), 32, 32, 4),
    ("r1/reasoning_math", ("engine.kind=ray", "engine.replicas=1"), None, 8, 1),
    ("r1/sft", (), None, 8, 1),
    ("r1/sft", (), 16, 16, 2),
]


@pytest.mark.parametrize(("recipe", "settings", "given", "gpus", "nodes"), NEEDS)
def test_gpus_and_machines(
    recipe: str, settings: tuple[str, ...], given: int | None, gpus: int, nodes: int
) -> None:
    needs = find_needs(Path(recipe), settings, given)
    assert (needs.gpus, needs.nodes) == (gpus, nodes)
    assert needs.nodes * needs.gpus_per_node >= gpus
    assert needs.shipped
    assert (needs.launch is not None) == (needs.command == "train")


REFUSED = [
    ("r1/reasoning_math", (), 4, RecipeError, "the recipe's engines use 8"),
    ("r1/pipeline", (), 16, RecipeError, "only `engine: {kind: ray}` and trainings use several"),
    ("r1/sft", (), 1, CapacityError, "can't fit on 1 x H100"),
]


@pytest.mark.parametrize(("recipe", "settings", "gpus", "error", "why"), REFUSED)
def test_what_cannot_run_is_refused(
    recipe: str, settings: tuple[str, ...], gpus: int, error: type[FactoryError], why: str
) -> None:
    with pytest.raises(error, match=why):
        find_needs(Path(recipe), settings, gpus)


def test_every_exit_code_says_whether_the_same_command_continues() -> None:
    """A Job fails for good where a person is needed; the rest is tried again."""
    codes = {1, *(kind.exit_code for kind in FactoryError.__subclasses__())}
    assert codes - set(FAILS) == {3, 5}  # the engine is lost; the disk is full


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name.endswith(".slurm")])
def test_bash_reads_the_scripts(name: str) -> None:
    subprocess.run(["bash", "-n", str(CLUSTER / name)], check=True)


def run_script(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script as Slurm's batch shell does, with a `factory` and a `scontrol` that tell."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("factory", "accelerate", "scontrol", "srun"):
        program = programs / name
        program.write_text(f'#!/bin/sh\necho {name} "$@"\n[ {name} != factory ] || exit $CODE\n')
        program.chmod(0o755)
    known = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "FACTORY_BIN": str(programs)}
    known |= {"SLURM_JOB_ID": "77", "CODE": "0", **variables}
    return subprocess.run(["bash", "-c", script], env=known, capture_output=True, text=True)


CODES = [
    ("0", "0", False),
    ("3", "0", True),
    ("3", "50", False),
    ("2", "0", False),
    ("130", "0", False),
]


@pytest.mark.parametrize(("code", "restarts", "again"), CODES)
def test_a_job_queues_itself_again_only_if_that_helps(
    code: str, restarts: str, again: bool, tmp_path: Path
) -> None:
    script = launch("slurm", "r1/reasoning_math", "--storage", tmp_path / "my runs")
    done = run_script(script, tmp_path, CODE=code, SLURM_RESTART_COUNT=restarts)
    assert done.returncode == int(code), done.stderr
    first, *rest = done.stdout.splitlines()
    assert first == f"factory build r1/reasoning_math --run {tmp_path}/my runs/r1-reasoning-math"
    assert rest == ["scontrol requeue 77"] * again


def test_the_warning_before_the_end_stops_the_run_and_queues_the_job_again(tmp_path: Path) -> None:
    script = launch("slurm", "r1/reasoning_math")
    programs = tmp_path / "bin"
    run_script("true", tmp_path)  # writes the programs
    (programs / "factory").write_text(
        "#!/bin/sh\ntrap 'echo stopped; exit 130' TERM\necho begun\nwhile :; do sleep 0.05; done\n"
    )
    known = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "FACTORY_BIN": str(programs)}
    for signal, lines in (("USR1", ["stopped", "scontrol requeue 77"]), ("TERM", ["stopped"])):
        job = subprocess.Popen(
            ["bash", "-c", script],
            env=known | {"SLURM_JOB_ID": "77"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert job.stdout is not None
        assert job.stdout.readline() == "begun\n"
        subprocess.run(["kill", f"-{signal}", str(job.pid)], check=True)
        assert job.stdout.read().splitlines() == lines
        assert job.wait() == 130


def test_an_array_gives_each_task_its_recipe_and_the_most_that_one_needs(tmp_path: Path) -> None:
    recipes = ("r1/reasoning_math", "quickstart")
    script = launch("slurm", *recipes, "--storage", tmp_path)
    assert "#SBATCH --array=0-1" in script
    assert "#SBATCH --gpus-per-node=8" in script
    done = run_script(script, tmp_path, SLURM_ARRAY_TASK_ID="1")
    assert done.stdout == f"factory build quickstart --run {tmp_path}/quickstart\n"


def test_a_training_on_two_machines_starts_on_both_with_their_ranks(tmp_path: Path) -> None:
    script = launch("slurm", "r1/sft", "--gpus", 16)
    srun = '#!/bin/sh\ncase $1 in --*) echo 10.0.0.1;; *) SLURM_NODEID=1 exec "$@";; esac\n'
    run_script("true", tmp_path)
    (tmp_path / "bin" / "srun").write_text(srun)
    known = os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    known |= {"FACTORY_BIN": str(tmp_path / "bin"), "SLURM_JOB_ID": "77"}
    done = subprocess.run(["bash", "-c", script], env=known, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert words[:4] == ["accelerate", "launch", "--machine_rank", "1"]
    assert words[words.index("--main_process_ip") + 1] == "10.0.0.1"
    assert words[words.index("-m") :][:4] == ["-m", "factory.cli", "train", "r1/sft"]


def test_keys_are_asked_for_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SERVER)
    script = launch("slurm", "mine.yaml")
    done = run_script(script, tmp_path)
    assert done.returncode != 0
    assert "EXAMPLE_KEY: set it before sbatch" in done.stderr
    assert done.stdout == ""
    task = yaml.safe_load(launch("skypilot", "mine.yaml", "--storage", "s3://b/runs"))
    assert task["secrets"] == {"EXAMPLE_KEY": None, "SLACK": None}


def test_a_ray_cluster_asks_for_a_token() -> None:
    ray = ["r1/reasoning_math", "--set", "engine.kind=ray", "--set", "engine.replicas=1"]
    task = yaml.safe_load(launch("skypilot", *ray, "--gpus", 16, "--storage", "s3://b/runs"))
    assert task["num_nodes"] == 2
    assert task["secrets"] == {"RAY_AUTH_TOKEN": None}
    (job,) = documents(launch("kubernetes", *ray, "--image", "i", "--storage", "runs"))
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    script = launch("slurm", *ray)
    assert script.index("export RAY_AUTH_TOKEN") < script.index('"$bin/ray" start')


def documents(text: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text))


def test_a_recipe_of_ones_own_is_carried_along(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SERVER)
    settings = ["--set", "sampling.n=7"]
    text = launch("kubernetes", "mine.yaml", *settings, "--image", "i", "--storage", "runs")
    assert "# Mine_v1.0: 0 GPUs" in text
    assert "These paths of the recipe must be there too: /data/rows.jsonl" in text
    assert "kubectl create secret generic mine-v1-0-keys" in text
    carried, job = documents(text)
    assert yaml.safe_load(carried["data"]["recipe.yaml"])["sampling"]["n"] == 7
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"][-1].endswith("build /recipes/recipe.yaml --run /runs/Mine_v1.0")
    task = yaml.safe_load(launch("skypilot", "mine.yaml", *settings, "--storage", "s3://b/runs"))
    script = task["run"].replace("~/factory/bin/factory", "cat /tmp/recipe.yaml #")
    script = script.replace("/tmp/recipe.yaml", str(tmp_path / "carried.yaml"))
    shown = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert yaml.safe_load(shown.stdout) == yaml.safe_load(carried["data"]["recipe.yaml"])


def test_a_pipeline_of_ones_own_cannot_be_carried(tmp_path: Path) -> None:
    (tmp_path / "q.yaml").write_text("extends: factory:quickstart.yaml\n")
    steps = "kind: pipeline\nname: two\nsteps: {one: {recipe: q.yaml}}\n"
    (tmp_path / "two.yaml").write_text(steps)
    assert "run two.yaml" in launch("slurm", "two.yaml", "--gpus", 1).replace(f"{tmp_path}/", "")
    arguments = ["two.yaml", "--gpus", "1", "--storage", "s3://b/runs"]
    with pytest.raises(RecipeError, match="launch its steps one by one"):
        launch("skypilot", *arguments)


def test_the_result_as_json() -> None:
    done = CliRunner().invoke(cli, ["launch", "slurm", "quickstart", "--json"])
    found = json.loads(done.stdout)
    assert found["start"] == f"sbatch {found['file']}" == "sbatch quickstart.slurm"
    assert found["notes"] == ["quickstart: 0 GPUs"]


FLAGS = [
    (["kubernetes", "quickstart", "--storage", "runs"], "needs --image"),
    (["kubernetes", "quickstart", "--image", "i"], "needs --storage"),
    (["skypilot", "quickstart"], "needs --storage"),
    (["slurm", "mine.yaml", "--out", "./mine.yaml"], "is the recipe itself"),
    (["skypilot", "quickstart", "r1/sft", "--storage", "s3://b"], "several recipes need slurm"),
]


@pytest.mark.parametrize(("flags", "what"), FLAGS)
def test_missing_flags_are_named(flags: list[str], what: str) -> None:
    done = CliRunner().invoke(cli, ["launch", *flags])
    assert done.exit_code == 2
    assert what in done.output


@pytest.mark.skipif("KUBE_PYTHON" not in os.environ, reason="KUBE_PYTHON is not set")
def test_kubernetes_own_schema_accepts_the_job(tmp_path: Path) -> None:
    check = "import sys, yaml, kubernetes_validate as k; t = yaml.safe_load_all(sys.stdin);"
    check += "[k.validate(one, k.latest_version(), strict=True) for one in t]"
    (tmp_path / "mine.yaml").write_text(SERVER)
    own = launch("kubernetes", "mine.yaml", "--image", "i", "--storage", "runs")
    training = launch("kubernetes", "r1/sft", "--image", "i", "--storage", "runs")
    for text in (own, training, (CLUSTER / "job.k8s.yaml").read_text()):
        subprocess.run([os.environ["KUBE_PYTHON"], "-c", check], input=text, text=True, check=True)


@pytest.mark.skipif("KUBERAY_CRD" not in os.environ, reason="KUBERAY_CRD is not set")
def test_kuberays_own_schema_accepts_the_ray_job() -> None:
    definition = yaml.safe_load(Path(os.environ["KUBERAY_CRD"]).read_text())
    (version,) = [one for one in definition["spec"]["versions"] if one["name"] == "v1"]
    schema = _closed(version["schema"]["openAPIV3Schema"])
    for job in documents((CLUSTER / "ray.k8s.yaml").read_text()):
        if job["kind"] == "RayJob":
            jsonschema.validate(job, schema)
            broken = json.loads(json.dumps(job))
            broken["spec"]["rayClusterSpec"]["workerGroups"] = []
            with pytest.raises(jsonschema.ValidationError, match="workerGroups"):
                jsonschema.validate(broken, schema)


def _closed(schema: Any) -> Any:
    """The schema, with unknown fields refused; metadata is Kubernetes' own, and open here."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _closed(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


@pytest.mark.skipif("SKY_PYTHON" not in os.environ, reason="SKY_PYTHON is not set")
def test_skypilot_itself_accepts_the_task(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SERVER)
    own = launch("skypilot", "mine.yaml", "--storage", "s3://mine/runs")
    training = launch("skypilot", "r1/sft", "--gpus", 16, "--storage", "s3://mine/runs")
    example = (CLUSTER / "task.sky.yaml").read_text()
    check = (
        "import sys, yaml; from sky.utils import common_utils, schemas;"
        "task = yaml.safe_load(sys.stdin.read());"
        "common_utils.validate_schema(task, schemas.get_task_schema(), 'task: ');"
        "common_utils.validate_schema(task['resources'], schemas.get_resources_schema(), 'r: ')"
    )
    python = os.environ["SKY_PYTHON"]
    for text in (own, training, example):
        subprocess.run([python, "-c", check], input=text, text=True, check=True)
    wrong = example.replace("num_nodes", "nodes")
    done = subprocess.run([python, "-c", check], input=wrong, text=True, capture_output=True)
    assert done.returncode != 0


def slurm(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def wait_for(job: str, state: str, deadline: float) -> str:
    """Wait until a job is in a state; returns all that Slurm says about it."""
    while state not in (found := slurm("scontrol", "show", "job", job)):
        assert "JobState=FAILED" not in found, found
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    return found


SLOW = """#!{python}
import sys, time
from factory.core.run_dir import RunDir
append = RunDir.append
def slowly(run, sample):
    time.sleep(0.05)
    append(run, sample)
RunDir.append = slowly
if __name__ == "__main__":
    from factory.cli import main
    main()
"""


@pytest.mark.skipif(
    shutil.which("sbatch") is None or "SLURM_CONF" not in os.environ,
    reason="there is no Slurm cluster here",
)
def test_a_real_job_is_stopped_by_its_warning_and_continues_when_it_is_queued_again(
    tmp_path: Path,
) -> None:
    recipe = recipe_file(tmp_path, record(tmp_path / "recorded", 4), 4)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "factory").write_text(SLOW.format(python=sys.executable))
    (programs / "factory").chmod(0o755)
    script = launch("slurm", recipe, "--storage", tmp_path / "runs", "--out", "job.slurm")
    # This machine is small; everything else is as it was written.
    Path("job.slurm").write_text(script.replace("--mem=64G", "--mem=1G"))
    dry = subprocess.run(["sbatch", "--test-only", "job.slurm"], capture_output=True, text=True)
    assert "to start at" in dry.stderr
    run = tmp_path / "runs" / "recorded"
    name = slurm(
        "sbatch", "--parsable", f"--export=ALL,FACTORY_BIN={programs}", "job.slurm"
    ).strip()
    try:
        deadline = time.monotonic() + 300
        while not list(run.glob("samples/journal-*")) and time.monotonic() < deadline:
            time.sleep(0.2)
        slurm("scancel", "--signal=USR1", "--batch", name)  # as Slurm does before the time is up
        wait_for(name, "JobState=PENDING", deadline)
        first = sum(pq.read_metadata(part).num_rows for part in sample_parts(run))
        assert 0 < first < 184
        time.sleep(3)  # in the second of its end, a node takes the job for one that is revoked
        slurm("scontrol", "update", f"jobid={name}", "StartTime=now")  # Slurm waits two minutes
        assert "Restarts=1" in wait_for(name, "JobState=COMPLETED", deadline)
    finally:
        subprocess.run(["scancel", name], check=False)
    tables = [pq.read_table(part, columns=["prompt_id", "index"]) for part in sample_parts(run)]
    drawn = Counter((row["prompt_id"], row["index"]) for one in tables for row in one.to_pylist())
    assert len(drawn) == drawn.total() == 184
    assert json.loads((run / "run.json").read_text())["state"] == "done"
