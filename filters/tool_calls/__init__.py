"""Tool calls: read from a model's turn, typed by a tool's schema, compared with expected ones."""
