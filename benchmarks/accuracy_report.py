"""Counts the answers of benchmarks.accuracy, and prints what they come to."""

from collections import defaultdict
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

PEERS = (
    "clean",
    "pink 10 dB",
    "pink 5 dB",
    "pink 0 dB",
    "pink -5 dB",
    "babble 5 dB",
    "babble 0 dB",
    "mp3 64",
    "mp3 32",
    "gsm",
    "room 5 dB",
    "level -20 dB",
    "speed +2 %",
    "speed +5 %",
    "tempo +5 %",
    "tempo +10 %",
    "pitch +1",
)
"""The seventeen conditions that other systems were measured in."""
PLACED_SEC = 0.1


@dataclass(frozen=True, slots=True)
class Trial:
    """One excerpt and what became of it."""

    piece: str
    half: str
    is_indexed: bool
    condition: str
    duration_sec: float
    start_sec: float
    found: str | None
    confidence: float
    is_sure: bool
    verdict: str
    offset_error_sec: float
    is_same_audio: bool
    is_repeat: bool
    evidence: dict[str, Any] | None
    stages: list[dict[str, Any]]
    timings_ms: dict[str, float]
    elapsed_ms: float


def summary(trials: list[Trial]) -> dict[str, Any]:
    """Return the figures of the tables."""
    positives = [trial for trial in trials if trial.is_indexed]
    negatives = [trial for trial in trials if not trial.is_indexed]
    cells = defaultdict(list)
    for trial in positives:
        cells[trial.condition, trial.duration_sec].append(trial)
    right = {key: [_is_right(trial) for trial in group] for key, group in cells.items()}
    named = [trial for trial in positives if trial.is_sure and trial.found == trial.piece]
    return {
        "cells": [
            {
                "condition": condition,
                "duration_sec": duration_sec,
                "trials": len(group),
                "right": sum(group),
                "own": sum(
                    t.is_sure and t.found == t.piece for t in cells[condition, duration_sec]
                ),
                "interval": wilson(sum(group), len(group)),
            }
            for (condition, duration_sec), group in right.items()
        ],
        "wrong": [
            asdict(trial)
            for trial in positives
            if trial.is_sure and trial.found != trial.piece and not trial.is_same_audio
        ],
        "negatives": [
            {
                "duration_sec": duration_sec,
                "trials": len(group),
                "false_alarms": sum(t.is_sure and not t.is_same_audio for t in group),
                "same_audio": sum(t.is_sure and t.is_same_audio for t in group),
                "pieces": len({t.piece for t in group}),
            }
            for duration_sec in sorted({t.duration_sec for t in negatives})
            if (group := [t for t in negatives if t.duration_sec == duration_sec])
        ],
        "false_alarms": [asdict(t) for t in negatives if t.is_sure and not t.is_same_audio],
        "placed": sum(abs(t.offset_error_sec) <= PLACED_SEC or t.is_repeat for t in named),
        "named": len(named),
        "reliability": reliability(trials),
        "stages": _stages(trials),
    }


def _is_right(trial: Trial) -> bool:
    return trial.is_sure and (trial.found == trial.piece or trial.is_same_audio)


def wilson(right: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    z = 1.96
    share = right / trials
    centre = share + z * z / (2 * trials)
    spread = z * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    bound = 1 + z * z / trials
    return float((centre - spread) / bound), float((centre + spread) / bound)


def reliability(trials: list[Trial]) -> list[dict[str, float]]:
    """Return, for bins of confidence, what was predicted and what was observed."""
    edges = (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.01)
    rows = []
    for low, high in pairwise(edges):
        group = [t for t in trials if t.found and low <= t.confidence < high]
        if group:
            rows.append(
                {
                    "from": low,
                    "to": min(high, 1.0),
                    "trials": len(group),
                    "predicted": float(np.mean([t.confidence for t in group])),
                    "observed": float(
                        np.mean([t.found == t.piece or t.is_same_audio for t in group])
                    ),
                }
            )
    return rows


def _stages(trials: list[Trial]) -> list[dict[str, Any]]:
    """Return what the stages cost, and how often each was the last."""
    rows = []
    for name in ("plain", "wide", "warped"):
        reached = [s for t in trials for s in t.stages if s["name"] == name]
        ended = [t for t in trials if t.stages and t.stages[-1]["name"] == name]
        if reached:
            times = [s["elapsed_ms"] for s in reached]
            whole = [t.elapsed_ms for t in ended]
            rows.append(
                {
                    "stage": name,
                    "asked": len(reached),
                    "ended_here": len(ended),
                    "median_ms": float(np.median(times)),
                    "p95_ms": float(np.percentile(times, 95)),
                    "median_postings": float(np.median([s["postings"] for s in reached])),
                    "median_whole_ms": float(np.median(whole)) if whole else None,
                }
            )
    return rows


def show(report: dict[str, Any]) -> None:
    """Print the figures for a person."""
    console = Console(width=120)
    durations = sorted({cell["duration_sec"] for cell in report["cells"]})
    cells = {(c["condition"], c["duration_sec"]): c for c in report["cells"]}
    table = Table(title="Right, % (95 % interval), at the product's own threshold")
    table.add_column("condition")
    for sec in durations:
        table.add_column(f"{sec:g} s", justify="right")
    conditions = list(dict.fromkeys(cell["condition"] for cell in report["cells"]))
    for condition in conditions:
        table.add_row(condition, *(_percent(cells.get((condition, sec))) for sec in durations))
    console.print(table)
    for sec in durations:
        compared = [cells[name, sec] for name in PEERS if (name, sec) in cells]
        if len(compared) == len(PEERS):
            mean = np.mean([c["right"] / c["trials"] for c in compared])
            own = np.mean([c["own"] / c["trials"] for c in compared])
            console.print(
                f"{sec:g} s: mean of the peers' seventeen conditions {100 * mean:.1f} %"
                f" ({100 * own:.1f} % where a recording with the same audio counts as wrong)"
            )
    for row in report["negatives"]:
        console.print(
            f"negatives of {row['duration_sec']:g} s: {row['false_alarms']} false alarms in"
            f" {row['trials'] - row['same_audio']} ({row['pieces']} pieces);"
            f" {row['same_audio']} more share audio with an indexed piece"
        )
    console.print(
        f"offset within {PLACED_SEC} s, or a repeat: {report['placed']}/{report['named']}"
    )
    for key, title in (("reliability", "Confidence"), ("stages", "Stages")):
        rows = report[key]
        table = Table(title=title)
        for column in rows[0] if rows else ():
            table.add_column(column.replace("_", " "), justify="right")
        for row in rows:
            table.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))
        console.print(table)
    for key in ("profile", "indexed", "held_out", "distractors", "hours", "ingest_x_real_time"):
        value = report[key]
        shown = f"{value:.2f}" if isinstance(value, float) else value
        console.print(f"{key.replace('_', ' ')}: {shown}")
    console.print(
        f"bytes a second: landmarks {report['landmark_bytes_a_second']:.0f}, sub-fingerprints"
        f" {report['sub_fingerprint_bytes_a_second']:.0f}"
    )
    for trial in report["wrong"] + report["false_alarms"]:
        console.print(
            f"wrong: {trial['piece']} ({trial['condition']}, {trial['duration_sec']:g} s)"
            f" answered {trial['found']} at {trial['confidence']:.3f}"
        )
    console.print(f"{len(report['trials'])} excerpts asked in {report['asking_sec']:.0f} s")


def _percent(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    low, high = cell["interval"]
    return f"{100 * cell['right'] / cell['trials']:.0f} ({100 * low:.0f}–{100 * high:.0f})"
