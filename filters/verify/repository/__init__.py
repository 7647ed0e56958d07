"""Repairs of a repository: a patch is read, applied and judged by the repository's own tests."""
