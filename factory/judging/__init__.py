"""Samples → metrics → verdicts: a pure function of the log and the recipe."""
