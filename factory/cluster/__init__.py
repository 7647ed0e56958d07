"""Ray clusters: joining one, noticing that it is lost, spreading work over it."""
