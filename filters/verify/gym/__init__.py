"""reasoning-gym's own scorers, run in the sandbox."""
