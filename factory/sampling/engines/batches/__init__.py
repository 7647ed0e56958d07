"""Batches of requests: files that a provider, or vLLM on another machine, answers later."""
