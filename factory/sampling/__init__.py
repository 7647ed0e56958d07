"""The sampling loop, the engines it feeds and the scheduling behind it."""
