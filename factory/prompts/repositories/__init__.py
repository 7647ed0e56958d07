"""Prompts to repair a repository: bugs made in projects of the user's, and their tests."""
