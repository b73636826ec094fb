"""The command `fpdb`: the edge where people meet the pipeline and the store."""

from fingerprintdb.cli.interruption import end_at_once


def main() -> None:
    """Run the command line and end the process with its exit status."""
    end_at_once()
    from fingerprintdb.cli.app import run

    run()
