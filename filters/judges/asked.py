"""What a filter asks when it measures: servers, and models that are loaded."""

from __future__ import annotations

from filters.base import Filter
from filters.judges.client import Endpoint
from filters.judges.process_model import ProcessModel
from filters.judges.reward_model import RewardModel, RewardServer


def asks_server(filter_: Filter) -> bool:
    """Return whether a server gets the text, and perhaps a key of the user."""
    return any(isinstance(value, Endpoint | RewardServer) for _, value in filter_)


def loads_model(filter_: Filter) -> bool:
    """Return whether a model is loaded into this process."""
    return any(isinstance(value, RewardModel | ProcessModel) for _, value in filter_)
