"""Verdicts → rows: which kept samples become rows, and how they are written."""
