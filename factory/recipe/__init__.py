"""All that a user may write: one file per kind of recipe or section."""
