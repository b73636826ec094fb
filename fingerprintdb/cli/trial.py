"""Tries embedding models on the user's own recordings: compares two, calibrates one."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fingerprintdb.cli.completion import models
from fingerprintdb.cli.model import Name
from fingerprintdb.cli.output import OneJson, print_json, print_table, say
from fingerprintdb.cli.page import examples
from fingerprintdb.cli.progress import Progress
from fingerprintdb.cli.setup import open_ready
from fingerprintdb.cli.survey import survey
from fingerprintdb.settings import Settings

if TYPE_CHECKING:
    from threading import Event

    from fingerprintdb.comparison import Recall
    from fingerprintdb.extractor import Extractor
    from fingerprintdb.similarity import Outcome
    from fingerprintdb.store.calibration import Sampled
    from fingerprintdb.store.database import Connection
    from fingerprintdb.store.model import Model

SURE = 0.95
"""The confidence that content types ask of a match, by default."""


@examples(
    ("fpdb model compare clap", "With the active one, on what is stored and was asked."),
    ("fpdb model compare clap clips/a.wav clips/b.wav --with builtin", "On clips of your choice."),
)
def compare(
    context: typer.Context,
    name: Name,
    clips: Annotated[
        list[str] | None,
        typer.Argument(help="Clips to ask with; none: those that were asked of fpdb.query."),
    ] = None,
    other: Annotated[
        str | None,
        typer.Option(
            "--with",
            autocompletion=models,
            help="The model to compare with; default the active one.",
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(help="Stored segments, or former questions, to ask with.", min=1)
    ] = 200,
    as_json: OneJson = False,
) -> None:
    """Say how far two models agree on what sounds alike, and how well each finds known clips.

    What a clip is of, landmarks and bits tell, which no model takes part in. Only reads.
    """
    url = open_ready(context.obj.settings)
    from fingerprintdb.extractor import Extractor
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.model import active_model, agreement, find_model

    extractor = Extractor(max_source_bytes=context.obj.settings.max_source_bytes)
    with connect(url) as connection:
        first = find_model(connection, name)
        second = find_model(connection, other) if other else active_model(connection)
        if first == second:
            raise typer.BadParameter("it is the active one: name another with --with")
        agreed = agreement(connection, first.model_id, second.model_id, samples)
        recalls = _recalls(connection, extractor, [first, second], clips or [], samples)
    if as_json:
        print_json(agreed | {"recall": [_named(recall, [first, second]) for recall in recalls]})
        return
    if agreed["asked"]:
        say(
            f"of the ten assets that sound most like a segment {100 * agreed['agreement']:.0f} %"
            f" are the same, of the first {100 * agreed['same_first']:.0f} %"
            f" ({agreed['asked']} segments that both know)",
            to_stderr=False,
        )
    else:
        say(
            "no segment that both know has a like in another asset:"
            f" `fpdb model backfill {first.model_id}` fills one"
        )
    if recalls and recalls[0].clips:
        print_table(
            ("model", "clips", "found first", "among ten", "ms a clip"),
            (
                (
                    _named(recall, [first, second])["model"],
                    recall.clips,
                    f"{100 * recall.first:.1f} %",
                    f"{100 * recall.among_ten:.1f} %",
                    round(recall.embedding_ms),
                )
                for recall in recalls
            ),
        )
    else:
        say("no clip was found by landmarks: name some of recordings that are there")


@examples(
    ("fpdb model calibrate clap --dry-run", "What it would learn."),
    ("fpdb model calibrate clap --samples 1000", "On more passages."),
)
def calibrate(
    context: typer.Context,
    name: Name,
    samples: Annotated[int, typer.Option(help="Most passages to ask about.", min=1)] = 300,
    seed: Annotated[int, typer.Option(help="The same seed asks the same passages.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing.")] = False,
    as_json: OneJson = False,
) -> None:
    """Learn on your own recordings what a model's similarity is worth, so that it may identify.

    Passages are spoilt with noise, rooms and codecs; a model that was never calibrated has no
    confidence of its own and only adds evidence. Vectors stay as they are.
    """
    settings: Settings = context.obj.settings
    url = open_ready(settings)
    from fingerprintdb.similarity import regression
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.model import calibrate_model, find_model

    with connect(url) as connection:
        found = find_model(connection, name)
        try:
            learnt = _outcomes(settings, url, found.model_id, samples, seed)
        except KeyboardInterrupt:
            say("stopped; nothing was changed")
            raise typer.Exit(130) from None
        fitted = regression(learnt)
        if not dry_run:
            calibrate_model(connection, found.model_id, fitted.intercept, fitted.slope)
    right = [fitted.confidence(one.similarity) for one in learnt if one.is_right]
    wrong = [fitted.confidence(one.similarity) for one in learnt if not one.is_right]
    counts = {
        "sure_and_right": sum(confidence >= SURE for confidence in right),
        "sure_and_wrong": sum(confidence >= SURE for confidence in wrong),
    }
    if as_json:
        print_json(asdict(fitted) | counts | {"even_odds": fitted.even_odds, "dry_run": dry_run})
        return
    say(
        f"model {found.name}: a similarity of {fitted.even_odds:.3f} is even odds; of"
        f" {fitted.right} clips {counts['sure_and_right']} find their recording with a confidence"
        f" of {SURE}, of {fitted.wrong} others {counts['sure_and_wrong']}"
        + ("; nothing was changed" if dry_run else ""),
        to_stderr=False,
    )


def _recalls(
    connection: "Connection",
    extractor: "Extractor",
    compared: "list[Model]",
    uris: list[str],
    most: int,
) -> "list[Recall]":
    from fingerprintdb.audio import AudioError
    from fingerprintdb.comparison import identified, recall_of, retrieve
    from fingerprintdb.source import SourceError
    from fingerprintdb.store.query import answered_clips

    asked = identified(connection, extractor, uris) if uris else answered_clips(connection, most)
    listeners = [extractor.embedder(connection, model.model_id) for model in compared]
    retrieved = []
    with Progress(len(uris) or None) as progress:
        for clip in asked:
            try:
                retrieved += retrieve(connection, extractor, clip, listeners)
            except (AudioError, SourceError):
                # A question of some time ago may name a file that is gone.
                progress.count("unreadable")
            else:
                progress.count("compared")
    return [recall_of(model.model_id, retrieved) for model in compared]


def _outcomes(
    settings: Settings, url: str, model_id: int, samples: int, seed: int
) -> "list[Outcome]":
    """Ask a model about passages of a sample of assets."""
    from fingerprintdb.calibration import passages
    from fingerprintdb.extractor import Extractor
    from fingerprintdb.similarity import outcomes
    from fingerprintdb.store import calibration as store
    from fingerprintdb.store.database import pool

    extractor = Extractor(max_source_bytes=settings.max_source_bytes)
    with pool(url, size=settings.concurrency) as connections:
        with connections.connection() as connection:
            listener = extractor.embedder(connection, model_id)
            sampled = store.sample(
                connection, collection=None, content_type=None, limit=samples, seed=seed
            )
        plan = passages(sampled, samples)

        def work(connection: "Connection", asset: "Sampled", stopped: "Event") -> "list[Outcome]":
            return outcomes(
                connection,
                extractor,
                listener,
                asset,
                passages=plan[asset.asset_id],
                seed=seed,
                stopped=stopped,
            )

        learnt: list[Outcome] = []
        for one in survey(
            connections, sampled, work, lambda found: "heard" if found else "left out"
        ):
            learnt += one
    return learnt


def _named(recall: "Recall", compared: "list[Model]") -> dict[str, Any]:
    name = next(model.name for model in compared if model.model_id == recall.model_id)
    return {"model": name} | asdict(recall)
