"""Reports, tables, explanations and comparisons of runs."""
