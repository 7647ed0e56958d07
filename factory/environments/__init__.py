"""Environments that ship, and the processes that all environments run in."""
