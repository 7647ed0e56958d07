"""The recipe's `engine.ray:` section: where the cluster is and what a replica takes of it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class RayOptions(BaseModel):
    """Engine replicas over a Ray cluster, one actor each."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str | None = Field(
        None,
        description="`auto`, HOST:PORT or ray://HOST:PORT. Default: RAY_ADDRESS, else a cluster on "
        "this machine alone.",
    )
    replicas: int | None = Field(
        None,
        ge=1,
        description="Engine replicas. Default: as many as the cluster holds, nodes that join later "
        "included.",
    )
    gpus: int | None = Field(
        None,
        ge=0,
        description="GPUs a replica. Default: what tensor, pipeline and data parallelism in "
        "engine.args come to where the cluster has GPUs, else none.",
    )
    cpus: int = Field(
        1, ge=1, description="CPUs a replica; its OpenMP threads where it has no GPU."
    )
    patience_s: float = Field(
        45.0, gt=0, description="Seconds without any live replica until the run stops; exit code 3."
    )
