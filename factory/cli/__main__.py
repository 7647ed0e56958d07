"""`python -m factory.cli`, for launchers that want a module."""

from factory.cli import main

main()
