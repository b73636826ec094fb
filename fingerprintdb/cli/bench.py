"""Measures on the user's own database and recordings how well and how fast clips are identified."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fingerprintdb.cli.completion import collections
from fingerprintdb.cli.output import OneJson, clock, print_json, print_table, say
from fingerprintdb.cli.page import examples
from fingerprintdb.cli.progress import Progress
from fingerprintdb.cli.setup import open_ready
from fingerprintdb.cli.survey import survey
from fingerprintdb.settings import Settings

if TYPE_CHECKING:
    from fingerprintdb.measurement import Asked, Cell, Excerpts, Latency, Throughput
    from fingerprintdb.store.calibration import Sampled
    from fingerprintdb.store.database import Connection

MOST_SECONDS, MOST_CLIENTS = 60.0, 256


@examples(
    ("fpdb bench", "30 recordings, clips of 5 and 10 s."),
    (
        "fpdb bench --collection radio --samples 200 --seconds 3 --clients 1,8,32",
        "More, shorter, and under load.",
    ),
)
def bench(
    context: typer.Context,
    collection: Annotated[
        str | None,
        typer.Option(autocompletion=collections, help="Sample and look in this collection only."),
    ] = None,
    samples: Annotated[int, typer.Option(help="Recordings to cut clips of.", min=1)] = 30,
    seed: Annotated[int, typer.Option(help="Another one chooses other recordings.")] = 0,
    seconds: Annotated[
        str, typer.Option(help="Lengths of the clips, with commas.", metavar="S,…")
    ] = "5,10",
    clients: Annotated[
        str, typer.Option(help="Numbers of clients at once to try, with commas.", metavar="N,…")
    ] = "1,4",
    as_json: OneJson = False,
) -> None:
    """Measure how well and how fast clips of your own recordings are identified here.

    Cuts a passage of each of some stored recordings, clean and spoilt by noise, a room and a codec,
    and identifies it: alone, then by several clients at once. Each recording is also asked about as
    if it were not stored, to count false alarms. Only reads; clips take 1 MB each for a while, in
    the temporary folder.
    """
    durations_sec = _numbers(seconds, "--seconds", 1.0, MOST_SECONDS)
    loads = [round(number) for number in _numbers(clients, "--clients", 1, MOST_CLIENTS)]
    settings: Settings = context.obj.settings
    url = open_ready(settings)
    from fingerprintdb import measurement

    with tempfile.TemporaryDirectory(prefix="fpdb-") as folder:
        try:
            cut, asked, loaded = _measure(
                settings, url, Path(folder), (collection, samples, seed), durations_sec, loads
            )
        except KeyboardInterrupt:
            say("stopped")
            raise typer.Exit(130) from None
    cells = measurement.cells(asked)
    alarms = [one for one in asked if one.excerpt.is_negative and one.outcome == "wrong"]
    if as_json:
        print_json(
            {
                "cells": [asdict(cell) for cell in cells],
                "load": [
                    asdict(load) | {"requests_per_sec": load.requests_per_sec} for load in loaded
                ],
                "false_alarms": [_alarm(one) for one in alarms],
                "skipped": [asdict(lost) for lost in cut.skipped],
                "assets": len({clip.asset.asset_id for clip in cut.clips}),
                "seed": seed,
            }
        )
        return
    for lost in cut.skipped:
        say(f"asset {lost.asset_id} is left out: {lost.reason}")
    _tell(cells, loaded)
    for one in alarms:
        found = _alarm(one)
        say(
            f"without asset {found['asset_id']}, its {found['condition']} clip at"
            f" {clock(found['start_sec'])} is taken for asset {found['other_asset_id']}, at"
            f" {clock(found['other_start_sec'])}"
        )
    if alarms:
        say("`fpdb calibrate` fits the thresholds to how many false alarms you accept")


def _measure(
    settings: Settings,
    url: str,
    folder: Path,
    wanted: tuple[str | None, int, int],
    durations_sec: list[float],
    loads: list[int],
) -> "tuple[Excerpts, list[Asked], list[Throughput]]":
    """Cut clips on every core, ask them one at a time, then by so many clients at once."""
    from fingerprintdb import measurement
    from fingerprintdb.extractor import Extractor
    from fingerprintdb.store import calibration as store
    from fingerprintdb.store import library
    from fingerprintdb.store.database import connect, pool

    collection, samples, seed = wanted
    extractor = Extractor(max_source_bytes=settings.max_source_bytes)
    cut = measurement.Excerpts()

    def work(connection: "Connection", asset: "Sampled", stopped: Event) -> "Excerpts":
        return measurement.cut(
            connection,
            extractor,
            asset,
            folder,
            durations_sec=durations_sec,
            seed=seed,
            stopped=stopped,
        )

    with connect(url) as connection:
        if collection is not None:
            library.require_collection(connection, collection)
        sampled = store.sample(
            connection, collection=collection, content_type=None, limit=samples, seed=seed
        )
        with pool(url, size=settings.concurrency) as connections:
            for one in survey(
                connections, sampled, work, lambda found: "cut" if found.clips else "left out"
            ):
                cut.clips += one.clips
                cut.skipped += one.skipped
        measurement.require_any(cut)
        extractor.embedders(connection)
        asked = []
        with Progress(len(cut.clips)) as progress:
            for clip in cut.clips:
                asked.append(measurement.ask(connection, extractor, clip, collection=collection))
                progress.count(asked[-1].outcome)
    known = [clip for clip in cut.clips if not clip.is_negative]
    loaded = []
    with Progress(len(loads)) as progress:
        for number in loads:
            with pool(url, size=number) as connections:
                loaded.append(
                    measurement.load(
                        connections, extractor, known, collection=collection, clients=number
                    )
                )
            progress.count(f"load of {number}")
    return cut, asked, loaded


def _tell(cells: "list[Cell]", loaded: "list[Throughput]") -> None:
    percentiles = ("p50 ms", "p95 ms", "p99 ms")
    print_table(
        (
            *("condition", "clip", "clips", "right", "wrong", "same sound", *percentiles),
            *(f"database {name}" for name in percentiles),
        ),
        (
            (
                cell.condition,
                f"{cell.duration_sec:g} s",
                cell.clips,
                f"{100 * cell.right / cell.clips:.1f} %",
                cell.wrong,
                cell.shared,
                *_milliseconds(cell.latency),
                *_milliseconds(cell.database),
            )
            for cell in cells
        ),
    )
    print_table(
        ("clients", "requests", "a second", *percentiles),
        (
            (
                load.clients,
                load.requests,
                f"{load.requests_per_sec:.1f}",
                *_milliseconds(load.latency),
            )
            for load in loaded
        ),
    )


def _milliseconds(latency: "Latency") -> tuple[int, int, int]:
    return round(latency.p50_ms), round(latency.p95_ms), round(latency.p99_ms)


def _alarm(asked: "Asked") -> dict[str, Any]:
    named = asked.named
    assert named is not None  # noqa: S101 — narrows the type: a wrong answer names something
    return {
        "asset_id": asked.excerpt.asset.asset_id,
        "other_asset_id": named.asset_id,
        "condition": asked.excerpt.condition,
        "start_sec": asked.excerpt.start_sec,
        "duration_sec": asked.excerpt.duration_sec,
        "other_start_sec": max(0.0, named.offset_sec),
        "confidence": named.confidence,
    }


def _numbers(text: str, option: str, least: float, most: float) -> list[float]:
    """Return what an option lists, each once and ascending."""
    numbers = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            number = float(part)
        except ValueError:
            number = 0.0
        if not least <= number <= most:
            raise typer.BadParameter(
                f"{part!r} is not a number of {least:g} to {most:g}", param_hint=option
            )
        numbers.add(number)
    if not numbers:
        raise typer.BadParameter("name at least one number", param_hint=option)
    return sorted(numbers)
