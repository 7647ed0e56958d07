"""A taskset of `verifiers` for tests: sums with a calculator, and tasks that misbehave."""

from hostile_sums.taskset import SumsTaskset

__all__ = ["SumsTaskset"]
