"""The command `fpdb`: the edge where people meet the pipeline and the store."""


def main() -> None:
    """Run the command line and end the process with its exit status."""
    from fingerprintdb.cli.app import run

    run()
