"""Where in a response its answer stands: marks, phrases of ten languages, fences."""
