"""Reasoning in steps: prefixes to continue, and the labels of steps."""
