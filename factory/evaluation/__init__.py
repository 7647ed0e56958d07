"""pass@k, cons@k and comparisons, with intervals."""
