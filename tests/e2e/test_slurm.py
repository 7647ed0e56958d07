"""Slurm for real, over two machines of one's own: the script of `factory launch` builds a recipe,
and goes on after its job was put back into the queue.

Slurm is the installed one, or that in a folder with its unpacked packages, named by SLURM_ROOT,
which is laid over the machines' file systems.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from factory.launch.files import Launch, write_file
from tests.e2e.hosts import Machine, Network, wait_for, why_not
from tests.e2e.test_hosts import (
    BIN,
    drawn_on,
    over_ray,
    places,
    read,
    samples_by_machine,
    variables,
)

ROOT = os.environ.get("SLURM_ROOT")
NEEDED = ("slurmctld", "slurmd", "munged", "sbatch")

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.real(group="hosts"),
    pytest.mark.skipif(bool(why := why_not()), reason=f"no machines of one's own: {why}"),
    pytest.mark.skipif(
        ROOT is None and not all(map(shutil.which, NEEDED)),
        reason="Slurm is not installed, and SLURM_ROOT names no folder with it",
    ),
]

CONF = """
ClusterName=ours
SlurmctldHost={head}({address})
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={scratch}/munge.socket
CredType=cred/munge
StateSaveLocation={scratch}/state
SlurmdSpoolDir={scratch}/spool
SlurmctldPidFile={scratch}/slurmctld.pid
SlurmdPidFile={scratch}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/linear
ReturnToService=2
KillWait=5
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """A controller and a daemon per machine."""

    def __init__(self, machines: list[Machine], folder: Path) -> None:
        self.machines, self.folder = machines, folder
        self.head = machines[0]
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        scratch = self.head.network.scratch
        cpus = os.cpu_count()
        nodes = [f"NodeName={m.name} NodeAddr={m.address} CPUs={cpus}" for m in machines]
        conf = folder / "slurm.conf"
        conf.write_text(
            CONF.format(
                head=self.head.name,
                address=self.head.address,
                scratch=scratch,
                nodes="\n".join(nodes),
            )
        )
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # none is used
        self.variables = {"SLURM_CONF": str(conf)}
        for machine in machines:
            if ROOT is not None:
                machine.lay_over(Path(ROOT) / "usr", Path("/usr"))
            files = [f"--{name}-file={scratch}/munge.{name}" for name in ("pid", "log", "seed")]
            munged = ["munged", "--foreground", "--force", f"--key-file={key}", *files]
            self._start(machine, "munged", *munged, f"--socket={scratch}/munge.socket")
        self._start(self.head, "slurmctld", "slurmctld", "-D")
        for machine in machines:
            self._start(machine, "slurmd", "slurmd", "-D", "-N", machine.name)
        idle = len(machines)
        wait_for(lambda: self.run("sinfo", "-h", "-N", "-o", "%T").count("idle") == idle, "Slurm")

    def run(self, *command: object, **more: str) -> str:
        """Run a command of Slurm on the head. Returns what it prints."""
        given = {**os.environ, **self.variables, **more}
        done = subprocess.run(self.head.inside(*command), capture_output=True, text=True, env=given)
        return done.stdout + done.stderr

    def _start(self, machine: Machine, name: str, *command: object) -> None:
        log = self.folder / f"{name}-{machine.name}.log"
        machine.start(command, log, self.variables)


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    with Network() as network:
        yield Slurm([network.add(), network.add()], tmp_path)


def test_a_job_over_two_nodes_that_is_queued_again_goes_on(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_TRUST_CODE", "1")
    over_ray(tmp_path)
    # Each machine has a /tmp of its own in life; here one that Ray's sockets fit in.
    given = {
        **variables(),
        "FACTORY_BIN": str(BIN),
        "RAY_TMPDIR": str(slurm.head.network.scratch),
    }
    asked = Launch("slurm", (tmp_path / "recipe.yaml",), gpus=2 * 8, storage=f"{tmp_path}/runs")
    script = tmp_path / "job.slurm"
    # These machines have no GPUs, and Slurm knows no memory of them.
    script.write_text(re.sub("(?m)^#SBATCH --(gpus|mem|cpus).*\n", "", write_file(asked).text))
    options = ["--parsable", "--cpus-per-task=1", f"--chdir={tmp_path}", "--output=job.log"]
    job = slurm.run("sbatch", *options, script, **given).strip()
    assert job.isdigit(), job
    names = {machine.name for machine in slurm.machines}
    run = tmp_path / "runs" / "hosts"
    (tmp_path / "run").symlink_to(run)
    wait_for(lambda: drawn_on(tmp_path) == names, "samples of both nodes")
    assert places(tmp_path, "replica_ready") == names
    slurm.run("scontrol", "requeue", job)
    wait_for(lambda: "JobState=PENDING" in slurm.run("scontrol", "show", "job", job), "the queue")
    (tmp_path / "release").touch()
    slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")  # else two minutes later
    state = "JobState=COMPLETED"
    wait_for(lambda: state in slurm.run("scontrol", "show", "job", job), read(tmp_path / "job.log"))
    assert "Restarts=1" in slurm.run("scontrol", "show", "job", job)
    assert samples_by_machine(tmp_path).keys() == names
