"""Nouns, errors and the run directory: what every other room may import."""
