"""Fits the thresholds of content types on the user's own recordings and says what they buy."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fingerprintdb.cli.completion import collections, content_types
from fingerprintdb.cli.output import OneJson, clock, print_json, print_table, say
from fingerprintdb.cli.page import examples
from fingerprintdb.cli.setup import open_ready
from fingerprintdb.cli.survey import survey
from fingerprintdb.settings import Settings

if TYPE_CHECKING:
    from threading import Event

    from fingerprintdb.calibration import Findings
    from fingerprintdb.store.calibration import Sampled
    from fingerprintdb.store.database import Connection
    from fingerprintdb.thresholds import Threshold


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a calibration is asked for."""

    collection: str | None
    content_type: str | None
    rate: float
    samples: int
    seed: int


@examples(
    ("fpdb calibrate --dry-run", "What the thresholds would be."),
    (
        "fpdb calibrate --content-type speech --false-alarms 0.001 --samples 2000",
        "One content type, more strictly.",
    ),
)
def calibrate(
    context: typer.Context,
    collection: Annotated[
        str | None,
        typer.Option(autocompletion=collections, help="Learn from this collection only."),
    ] = None,
    content_type: Annotated[
        str | None,
        typer.Option(autocompletion=content_types, help="Calibrate this content type only."),
    ] = None,
    false_alarms: Annotated[
        float,
        typer.Option(
            help="Share of clips of unknown recordings that may be answered.", min=1e-4, max=0.5
        ),
    ] = 0.01,
    samples: Annotated[
        int, typer.Option(help="Passages to ask about, each at five lengths.", min=1)
    ] = 200,
    seed: Annotated[int, typer.Option(help="Another one chooses other passages.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what the thresholds would be; change nothing.")
    ] = False,
    as_json: OneJson = False,
) -> None:
    """Fit the thresholds on your own recordings, each asked about as if it were not stored.

    Writes the least confidence of a match, by content type, that keeps false alarms as rare as
    asked, and says what it costs. Recordings whose files cannot be read any more are left out.
    Landmarks and vectors stay as they are.
    """
    settings: Settings = context.obj.settings
    wanted = Wanted(collection, content_type, false_alarms, samples, seed)
    url = open_ready(settings)
    from fingerprintdb.store import calibration as store
    from fingerprintdb.store.database import connect
    from fingerprintdb.thresholds import fit_all

    try:
        sampled, findings = _examine(settings, url, wanted)
    except KeyboardInterrupt:
        say("stopped; nothing was changed")
        raise typer.Exit(130) from None
    if not as_json:
        for lost in findings.skipped:
            say(f"asset {lost.asset_id} is left out: {lost.reason}")
        _tell_shared(findings)
    with connect(url) as connection:
        found, too_few = fit_all(findings.scores, store.thresholds(connection), false_alarms)
        if not dry_run:
            store.put_thresholds(
                connection,
                {fit.content_type: (fit.threshold, _origin(fit, wanted)) for fit in found},
            )
    if as_json:
        print_json(
            {
                "content_types": [asdict(fit) for fit in found],
                "too_few": too_few,
                "shared": [asdict(pair) for pair in findings.shared_pairs()],
                "skipped": [asdict(lost) for lost in findings.skipped],
                "assets": len(sampled) - len(findings.skipped),
                "false_alarms": false_alarms,
                "seed": seed,
                "dry_run": dry_run,
            }
        )
        return
    for reason in too_few.values():
        say(f"left alone: {reason}")
    _tell(found, dry_run=dry_run)


def _examine(settings: Settings, url: str, wanted: Wanted) -> "tuple[list[Sampled], Findings]":
    """Ask about passages of a sample of assets, and add what people have said."""
    from fingerprintdb import calibration
    from fingerprintdb.extractor import Extractor
    from fingerprintdb.store import calibration as store
    from fingerprintdb.store import library
    from fingerprintdb.store.database import pool
    from fingerprintdb.thresholds import require_any

    extractor = Extractor(max_source_bytes=settings.max_source_bytes)
    findings = calibration.Findings()
    with pool(url, size=settings.concurrency) as connections:
        with connections.connection() as connection:
            if wanted.collection is not None:
                library.require_collection(connection, wanted.collection)
            if wanted.content_type is not None:
                library.require_content_type(connection, wanted.content_type)
            sampled = store.sample(
                connection,
                collection=wanted.collection,
                content_type=wanted.content_type,
                limit=wanted.samples,
                seed=wanted.seed,
            )
            verdicts = store.feedback(
                connection, collection=wanted.collection, content_type=wanted.content_type
            )
            findings.scores += calibration.said(verdicts)
            extractor.embedder(connection)
        plan = calibration.passages(sampled, wanted.samples)
        # What minutes of work could not give is refused at once.
        most = calibration.most_negatives(sampled, plan, findings.scores)
        if wanted.content_type is not None:
            most.setdefault(wanted.content_type, 0)
        require_any(most, wanted.rate)

        def work(connection: "Connection", asset: "Sampled", stopped: "Event") -> "Findings":
            return calibration.examine(
                connection,
                extractor,
                asset,
                passages=plan[asset.asset_id],
                collection=wanted.collection,
                seed=wanted.seed,
                stopped=stopped,
            )

        for one in survey(
            connections, sampled, work, lambda found: "left out" if found.skipped else "heard"
        ):
            findings.add(one)
    return sampled, findings


def _origin(fit: "Threshold", wanted: Wanted) -> str:
    """Return what fpdb.content_type.calibration says."""
    where = f" of collection {wanted.collection}" if wanted.collection else ""
    bound = _percent(fit.false_alarm_bound)
    return (
        f"fpdb calibrate{where}, {datetime.now(UTC):%Y-%m-%d}: {fit.false_alarms} false alarms of"
        f" {fit.negatives} negatives (a rate under {bound} with 95 % confidence), asked for"
        f" {_percent(wanted.rate)}; {fit.found} of {fit.positives} clips found; seed {wanted.seed}"
    )


def _tell(found: "list[Threshold]", *, dry_run: bool) -> None:
    print_table(
        ("content type", "negatives", "false alarms", "rate under", "found", "threshold"),
        map(_row, found),
    )
    print_table(
        ("content type", "clip", "found"),
        (
            (
                fit.content_type,
                "feedback" if recall.duration_sec is None else f"{recall.duration_sec:g} s",
                _share(recall.found, recall.asked),
            )
            for fit in found
            for recall in fit.recalls
        ),
    )
    if dry_run:
        say("nothing was changed")


def _row(fit: "Threshold") -> tuple[Any, ...]:
    return (
        fit.content_type,
        fit.negatives,
        f"{fit.former_false_alarms} → {fit.false_alarms}",
        _percent(fit.false_alarm_bound),
        f"{fit.former_found} → {_share(fit.found, fit.positives)}",
        f"{fit.former:.4g} → {fit.threshold:.4g}",
    )


def _tell_shared(findings: "Findings") -> None:
    for pair in findings.shared_pairs():
        say(
            f"assets {pair.asset_id} and {pair.other_asset_id} hold one sound, at"
            f" {clock(pair.start_sec)} and {clock(pair.other_start_sec)}:"
            f" {pair.clips} clips are no negatives"
        )


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}" + (f" ({_percent(part / whole)})" if whole else "")


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
