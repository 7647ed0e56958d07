"""Where samples come from: one file per engine and its parts."""
