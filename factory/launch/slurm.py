"""A script for Slurm: one job per recipe, or an array of jobs for several recipes.

A job asks for a signal two minutes before its end. It then stops the run cleanly and queues itself
again (`scontrol requeue`). A preempted job, or one whose node failed, is queued again by Slurm.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from factory.launch.needs import LOST, Needs

RESTARTS = 50
"""Times that a job queues itself again."""

WARNING_S = 120
"""Seconds before the end of a job at which the run is stopped."""


def write_script(needs: Sequence[Needs], written_by: str, folder: Path, programs: Path) -> str:
    """Return the script that runs these recipes with the `factory` in `programs`.

    The runs are put into `folder`. Several recipes become an array, in which each task has the
    resources of the largest.
    """
    return "\n".join([*_header(needs, written_by), *_body(needs, folder, programs)]) + "\n"


def _header(needs: Sequence[Needs], written_by: str) -> Iterator[str]:
    first = needs[0]
    array = len(needs) > 1
    yield "#!/bin/bash"
    yield f"# Written by `{written_by}`. Start it with sbatch."
    for one in needs:
        yield from (f"# {one.name}: {note}" for note in one.notes)
    settings: dict[str, object] = {
        "job-name": "factory" if array else first.name,
        "nodes": max(one.nodes for one in needs),
        "ntasks-per-node": 1,
        "cpus-per-task": max(one.cpus for one in needs),
        "gpus-per-node": max(one.gpus_per_node for one in needs),
        "mem": f"{max(one.memory_gb for one in needs)}G",
        "time": f"{max(one.job_hours for one in needs)}:00:00",
        "array": f"0-{len(needs) - 1}" if array else None,
        "requeue": True,
        "open-mode": "append",
        "output": "%x-%A-%a.out" if array else "%x-%j.out",
        "signal": f"B:USR1@{WARNING_S}",
    }
    for key, value in settings.items():
        if value is True:
            yield f"#SBATCH --{key}"
        elif value:
            yield f"#SBATCH --{key}={value}"


def _body(needs: Sequence[Needs], folder: Path, programs: Path) -> Iterator[str]:
    yield "set -euo pipefail"
    yield f"bin=${{FACTORY_BIN:-{shlex.quote(str(programs))}}}"
    for key in dict.fromkeys(key for one in needs for key in one.keys):
        yield f': "${{{key}:?set it before sbatch: the recipe names it}}"'
    if any(one.ray for one in needs):
        yield _RAY
    elif any(one.nodes > 1 for one in needs):
        yield _ADDRESS
    if len(needs) > 1:
        yield "case $SLURM_ARRAY_TASK_ID in"
        for number, one in enumerate(needs):
            yield f"    {number}) command=({_command(one, folder)}) ;;"
        yield "esac"
    else:
        yield f"command=({_command(needs[0], folder)})"
    yield _RUN


def _command(one: Needs, folder: Path) -> str:
    """Return the words of the command, for a bash array."""
    recipe = one.asked if one.shipped else str(one.recipe)
    words = one.arguments(recipe, str(folder / one.name))
    if one.launch is None:
        return f'"$bin/factory" {words}'
    options = f"--config_file {shlex.quote(str(one.launch))} --num_processes {one.gpus}"
    if one.nodes == 1:
        return f'"$bin/accelerate" launch {options} -m factory.cli {words}'
    # On every node, with its rank, which is known there only.
    rank = '\'exec "$0" launch --machine_rank "$SLURM_NODEID" "$@"\''
    options += f' --num_machines {one.nodes} --main_process_ip "$address" --main_process_port 29500'
    return f'srun bash -c {rank} "$bin/accelerate" {options} -m factory.cli {words}'


_ADDRESS = """\
address=$(srun --nodes=1 --ntasks=1 hostname --ip-address | awk '{print $1}')"""

_RAY = """\
# Ray on all nodes. Workers may come late: replicas are added as nodes join.
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK  # otherwise a step has one core
on() { srun --overlap --nodes=1 --ntasks=1 -w "$@"; }
address=$(on "${nodes[0]}" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 10000))
export RAY_ADDRESS=$address:$port
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \\n')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token  # only this job may use its cluster
# Ray notices a dead node in 10 seconds, not in 65.
export RAY_health_check_initial_delay_ms=1000 RAY_health_check_period_ms=1000
export RAY_health_check_timeout_ms=2000 RAY_health_check_failure_threshold=3
on "${nodes[0]}" \\
    "$bin/ray" start --head --node-ip-address="$address" --port="$port" --block &
head=$!
for node in "${nodes[@]:1}"; do
    on "$node" "$bin/ray" start --address="$RAY_ADDRESS" --block &
done
until "$bin/ray" status >/dev/null 2>&1; do kill -0 "$head"; sleep 2; done"""

_RUN = f"""\
"${{command[@]}}" &
work=$!
set +e
again=
# The time is nearly up (USR1), or the job is ended (TERM): a clean stop. What is finished is saved.
trap 'again=yes; kill -TERM "$work" 2>/dev/null' USR1
trap 'kill -TERM "$work" 2>/dev/null' TERM INT
wait "$work"
while kill -0 "$work" 2>/dev/null; do wait "$work"; done
wait "$work"
code=$?
# {LOST} says that the engine is lost, and that the same command continues.
if [[ $code -eq {LOST} || ( $again && $code -ne 0 ) ]]; then
    (( ${{SLURM_RESTART_COUNT:-0}} < {RESTARTS} )) && scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code\""""
