"""Finished runs → one mixed corpus, by quotas."""
