"""The simulated services of BFCL's multi-turn categories, from the package `bfcl-eval`.

The package's code is imported only here, in the processes of episodes. Its own checker evaluates a
model's text; here a call is read as data and made as a call.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from factory.core.environment import BFCL_SERVICES
from factory.environments.functions import Functions

_FOLDER = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"


class Bfcl(Functions):
    """Offers services of BFCL. `config` is their scenario; `long_context` fills it up with text."""

    def __init__(
        self,
        services: Sequence[str],
        config: Mapping[str, Any] | None = None,
        turns: Sequence[str | Mapping[str, Any]] = (),
        expected: Sequence[Sequence[Mapping[str, Any]]] | None = None,
        long_context: bool = False,
    ) -> None:
        super().__init__(services, None, config, turns, expected)
        self._long_context = long_context

    def load_service(self, name: str) -> type:
        if name not in BFCL_SERVICES:
            raise ValueError(f"{name!r} is no service of BFCL; they are {', '.join(BFCL_SERVICES)}")
        try:
            module = import_module(f"{_FOLDER}.{BFCL_SERVICES[name]}")
        except ImportError as error:
            raise RuntimeError(
                f"the services of bfcl-eval cannot be imported ({error}); install them with "
                "`pip install --no-deps bfcl-eval`"
            ) from None
        found: type = getattr(module, name)
        return found

    def make_service(self, name: str) -> Any:
        service = self.load_service(name)()
        scenario = copy.deepcopy(self._config.get(name) or {})
        if hasattr(service, "_load_scenario"):
            service._load_scenario(scenario, long_context=self._long_context)
        return service

    @classmethod
    def prepare(cls, services: Sequence[str], path: str | None = None, **_: Any) -> None:
        """Import the services once for all episodes."""
        for name in services:
            import_module(f"{_FOLDER}.{BFCL_SERVICES[name]}")
