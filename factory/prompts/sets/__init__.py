"""Named public data sets, with their traps handled."""
