"""Instructions that a program can check: length, format, words, language, case, beginning, end."""
