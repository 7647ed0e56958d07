"""Corpora as files for trainers and for the Hub."""
