"""How well and how fast, each one command: `python -m benchmarks.NAME`."""
