"""Models that score answers, or the steps of answers."""
