"""The recipe's `judging` section: where samples are measured after sampling."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from factory.recipe.parsing import Strict


class Judging(Strict):
    """Where the filters measure the samples. It never changes a verdict or a row."""

    on: Literal["here", "ray"] = Field(
        "here",
        description="`here`: on the cores of this machine. `ray`: as tasks of a Ray cluster, one "
        "sealed part of the samples each. Filters that ask a model still run here.",
    )
    address: str | None = Field(
        None,
        description="`ray` only: `auto`, HOST:PORT or ray://HOST:PORT. Default: RAY_ADDRESS, or "
        "else a new cluster on this machine.",
    )
    cpus: int = Field(
        1, ge=1, description="`ray` only: CPUs per task. Programs run on as many at once."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        unread = self.model_fields_set & {"address", "cpus"}
        if self.on == "here" and unread:
            raise ValueError(f"{', '.join(sorted(unread))}: these keys need on: ray")
        return self
