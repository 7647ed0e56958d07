"""Watching a run from outside: trackers, a metrics page, a webhook. None of it touches the run."""
