"""The final state of an environment, compared with the one that was asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from filters.verify.base import Immediate
from filters.verify.verification import Verification

_DETAIL = 200


class StateVerifier(Immediate):
    """Verifier of `{"kind": "state", "state": {…}, "reward": …}`; it needs one of the two.

    Instead of a response it gets JSON: `{"state", "reward"}` of the episode's last turn. Every key
    of the expected state must have that value there; other keys are free. `reward` is the least.
    """

    METHOD = "state"

    def problem(self, spec: Mapping[str, Any]) -> str | None:
        expected, reward = spec.get("state"), spec.get("reward")
        if expected is None and reward is None:
            return "there is neither a state nor a reward to compare with"
        if not isinstance(expected, Mapping | None) or (expected is not None and not expected):
            return f"state is {expected!r:.80}; it must be a mapping with keys"
        if reward is not None and not _is_number(reward):
            return f"reward is {reward!r:.80}; it must be a number"
        return None

    def judge(self, spec: Mapping[str, Any], response: str) -> Verification:
        try:
            reached = json.loads(response)
        except ValueError:
            reached = None
        if not isinstance(reached, Mapping):
            return self.say("no_answer", None, "the episode has no final state")
        state, reward = reached.get("state"), reached.get("reward")
        least, expected = spec.get("reward"), spec.get("state")
        shown = json.dumps(state if expected is not None else reward, sort_keys=True)[:_DETAIL]
        if least is not None:
            if not _is_number(reward):
                return self.say("no_answer", None, "the environment gave no reward")
            if reward < least:
                return self.say("wrong", shown, f"the reward is {reward:g}, not {least:g}")
        if expected is not None:
            if not isinstance(state, Mapping):
                return self.say("no_answer", None, "the environment gave no state")
            difference = find_difference(expected, state)
            if difference is not None:
                return self.say("wrong", shown, difference)
        return self.say("correct", shown)


def find_difference(expected: Any, found: Any, place: str = "") -> str | None:
    """Return where a value differs from the expected one; None if it does not.

    A mapping may have further keys, at any depth. 1 and 1.0 are equal, 1 and true are not.
    """
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            return f"{place or 'state'} is {_short(found)}, not a mapping"
        for key, value in expected.items():
            inner = f"{place}.{key}" if place else str(key)
            if key not in found:
                return f"{inner} is missing"
            difference = find_difference(value, found[key], inner)
            if difference is not None:
                return difference
        return None
    if isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            return f"{place} is {_short(found)}, not {_short(expected)}"
        pairs = enumerate(zip(expected, found, strict=True))
        differences = (find_difference(a, b, f"{place}[{n}]") for n, (a, b) in pairs)
        return next((item for item in differences if item is not None), None)
    same = expected == found and isinstance(expected, bool) == isinstance(found, bool)
    return None if same else f"{place} is {_short(found)}, not {_short(expected)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: Any) -> str:
    return json.dumps(value, sort_keys=True)[:_DETAIL]
