"""Tells how far the work is and what failed, and why."""

from typing import Annotated, Any

import typer

from fingerprintdb.cli.output import OneJson, print_json, print_table, say
from fingerprintdb.cli.page import examples
from fingerprintdb.cli.setup import open_ready


@examples(
    ("fpdb status", "How far the work is, and what failed."),
    ("fpdb status --json --failures 1000", "For programs, with every failure."),
)
def status(
    context: typer.Context,
    failures: Annotated[int, typer.Option(help="Most failures to list, newest first.", min=0)] = 20,
    as_json: OneJson = False,
) -> None:
    """Count assets, jobs and workers exactly, and list failures with their reasons.

    Only reads. The lag is the age of the oldest job that waits.
    """
    url = open_ready(context.obj.settings)
    from fingerprintdb.store.database import address, connect
    from fingerprintdb.store.status import status as read

    with connect(url) as connection:
        found = read(connection, failures=failures)
    if as_json:
        print_json(found)
        return
    model = ", ".join(f"{m['name']} ({m['revision'][:12]})" for m in found["model"])
    profile = ", ".join(f"{p['name']} ({p['digest']})" for p in found["profile"])
    print_table(
        ("what", "state", "number"),
        [
            *(("assets", state, number) for state, number in found["assets"].items()),
            *((f"{job['queue']} jobs", job["status"], job["jobs"]) for job in found["jobs"]),
            *(("worker", _alive(worker), worker["jobs"]) for worker in found["workers"]),
        ],
    )
    say(f"database: {address(url)}", to_stderr=False)
    say(f"model: {model or 'none; run `fpdb init`'}", to_stderr=False)
    say(f"profile: {profile or 'none; run `fpdb init`'}", to_stderr=False)
    say(f"lag: {found['lag_sec']:.1f} s since the oldest waiting job was queued", to_stderr=False)
    if found["failures"]:
        print_table(
            ("failed", "source", "reason"),
            ((f["asset_id"], f["uri"] or f["title"], f["error"]) for f in found["failures"]),
        )


def _alive(worker: dict[str, Any]) -> str:
    return f"seen {worker['heartbeat_age_sec']:.0f} s ago, jobs in hand:"
