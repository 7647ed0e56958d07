"""Manifests for Kubernetes: a Job, or a RayJob of KubeRay for an engine on several machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from factory.core.errors import Problem, RecipeError
from factory.launch.needs import FAILS, Needs
from factory.launch.yaml_text import write_yaml

RUNS, RECIPES = "/runs", "/recipes"
RECIPE_KEY, LAUNCH_KEY = "recipe.yaml", "accelerate.yaml"

RETRIES = 20


def write_manifests(needs: Needs, written_by: str, image: str, claim: str) -> str:
    """Return the manifests: a ConfigMap with the recipe, unless it is shipped, and the job.

    `claim` is the PersistentVolumeClaim for runs and models. Raises RecipeError for a pipeline of
    one's own, whose steps are files, and for a training on several machines.
    """
    needs.refuse_files()
    if needs.nodes > 1 and not needs.ray:
        what = f"is {needs.gpus}, but a training gets one pod; use 8 or fewer, or `launch slurm`"
        raise RecipeError([Problem("--gpus", what)])
    lines = list(needs.comments(written_by, "Start it with kubectl apply -f."))
    if needs.keys:
        given = " ".join(f"--from-literal={key}=${key}" for key in needs.keys)
        lines.append(f"Its keys: kubectl create secret generic {_name(needs)}-keys {given}")
    return write_yaml(lines, [*_config_map(needs), _job(needs, image, claim)])


def _name(needs: Needs) -> str:
    """Return a name as Kubernetes allows them: small letters, digits and dashes."""
    name = "".join(letter if letter.isalnum() else "-" for letter in needs.name.lower())
    return name.strip("-")[:50].strip("-")


def _config_map(needs: Needs) -> Iterator[dict[str, Any]]:
    data = {} if needs.shipped else {RECIPE_KEY: needs.text}
    if needs.launch is not None:
        data[LAUNCH_KEY] = needs.launch.read_text(encoding="utf-8")
    if data:
        metadata = {"name": f"{_name(needs)}-recipe"}
        yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _arguments(needs: Needs) -> str:
    return needs.carried_arguments(f"{RECIPES}/{RECIPE_KEY}", f"{RUNS}/{needs.name}")


def _command(needs: Needs) -> str:
    if needs.launch is None:
        return f"factory {_arguments(needs)}"
    options = f"--config_file {RECIPES}/{LAUNCH_KEY} --num_processes {needs.gpus}"
    return f"accelerate launch {options} -m factory.cli {_arguments(needs)}"


def _job(needs: Needs, image: str, claim: str) -> dict[str, Any]:
    command = _command(needs)
    if needs.ray:
        return _ray_job(needs, image, claim, command)
    container = _container(needs, "factory", image, gpus=needs.gpus)
    container["command"] = ["/bin/sh", "-c", f"exec {command}"]
    rules = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
        {
            "action": "FailJob",
            "onExitCodes": {
                "containerName": "factory",
                "operator": "In",
                "values": list(FAILS),
            },
        },
    ]
    pod = {"restartPolicy": "Never", "containers": [container], "volumes": _volumes(needs, claim)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": _name(needs)},
        "spec": {
            "backoffLimit": RETRIES,
            "podFailurePolicy": {"rules": rules},
            "template": {"spec": pod},
        },
    }


def _ray_job(needs: Needs, image: str, claim: str, command: str) -> dict[str, Any]:
    def pod(name: str, gpus: int) -> dict[str, Any]:
        container = _container(needs, name, image, gpus)
        return {"spec": {"containers": [container], "volumes": _volumes(needs, claim)}}

    workers = {
        "groupName": "gpus",
        "replicas": needs.nodes,
        "minReplicas": needs.nodes,
        "maxReplicas": needs.nodes,
        "rayStartParams": {},
        "template": pod("ray-worker", needs.gpus_per_node),
    }
    head = {"rayStartParams": {"num-gpus": "0"}, "template": pod("ray-head", 0)}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": _name(needs)},
        "spec": {
            "entrypoint": command,
            "backoffLimit": RETRIES,
            "shutdownAfterJobFinishes": True,
            "rayClusterSpec": {
                "authOptions": {"mode": "token"},  # Ray 2.60 asks for one; the operator makes it
                "headGroupSpec": head,
                "workerGroupSpecs": [workers],
            },
        },
    }


def _container(needs: Needs, name: str, image: str, gpus: int) -> dict[str, Any]:
    resources: dict[str, Any] = {
        "requests": {"cpu": str(needs.cpus), "memory": f"{needs.memory_gb}G"},
        "limits": {"memory": f"{needs.memory_gb}G"},
    }
    if gpus:
        resources["limits"]["nvidia.com/gpu"] = gpus
    mounts = [{"name": "runs", "mountPath": RUNS}, {"name": "shm", "mountPath": "/dev/shm"}]
    if any(True for _ in _config_map(needs)):
        mounts.append({"name": "recipe", "mountPath": RECIPES})
    return {
        "name": name,
        "image": image,
        "env": [{"name": "HF_HOME", "value": f"{RUNS}/.huggingface"}],
        "envFrom": [{"secretRef": {"name": f"{_name(needs)}-keys", "optional": True}}],
        "resources": resources,
        "volumeMounts": mounts,
    }


def _volumes(needs: Needs, claim: str) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        {"name": "runs", "persistentVolumeClaim": {"claimName": claim}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "32Gi"}},
    ]
    if any(True for _ in _config_map(needs)):
        volumes.append({"name": "recipe", "configMap": {"name": f"{_name(needs)}-recipe"}})
    return volumes
