"""Runs the command as `python -m fingerprintdb`."""

from fingerprintdb.cli import main

main()
