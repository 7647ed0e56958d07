"""`python -m factory.cli`, for launchers that need a module."""

from factory.cli import main

main()
