"""What a database makes of an archive's profile, models and thresholds, before its assets come.

One without assets takes them over. One that has some keeps its own: landmarks and vectors of
others are never mixed in, and nothing that is there is made again for the sake of what comes.
"""

from dataclasses import dataclass, field

from fingerprintdb.archive import ContentType, Header, Model, NamedCollection
from fingerprintdb.profile import PROFILES
from fingerprintdb.store.database import Connection, DatabaseError
from fingerprintdb.store.library import ensure_collection
from fingerprintdb.store.model import (
    activate_model,
    active_model,
    backfill_model,
    has_active_model,
    weigh_model,
)
from fingerprintdb.store.model import read_model as read
from fingerprintdb.store.profile import active_profile, register_profile


@dataclass(frozen=True, slots=True)
class Adopted:
    """Where the parts of an archive go.

    `model_ids` are the keys of the header's models, in its order; `notes` tell people what was
    changed, and what was left as it is.
    """

    profile_id: int
    model_ids: tuple[int, ...]
    active_model_id: int
    active_model_name: str
    notes: list[str] = field(default_factory=list)


def require_adoptable(connection: Connection, header: Header, *, embed: bool | None) -> None:
    """Raise DatabaseError, with what to do, where an archive does not fit a database.

    `embed` says what is to become of assets without the active model's vectors: queued (True) or
    left (False); None means that nobody has thought of it. Changes nothing.
    """
    _require_profile(header)
    for model in header.models:
        _require_same_dims(connection, model)
    if _is_empty(connection):
        if header.active_model is not None:
            return
        if not has_active_model(connection):
            raise DatabaseError("no embedding model is active in this database", "run `fpdb init`")
    else:
        name, digest = _searched_profile(connection)
        if digest != header.profile.digest:
            raise DatabaseError(
                f"the archive holds landmarks of profile {header.profile.name}"
                f" ({header.profile.digest}), this database is searched by {name} ({digest})",
                f"move it first: `fpdb profile build {header.profile.name}`, `fpdb worker --once`,"
                f" `fpdb profile activate {header.profile.name}`; or import into a new database",
            )
    active = active_model(connection)
    known = {(model.name, model.revision) for model in header.models}
    if header.assets and embed is None and (active.name, active.revision) not in known:
        theirs = header.active_model
        held = f"of {theirs.name} ({theirs.revision})" if theirs else "of no model"
        switch = ""
        if theirs is not None:
            switch = f"search by {theirs.name} here too (`fpdb model add {theirs.source}`,"
            switch += f" `fpdb model activate {theirs.name}`), or "
        raise DatabaseError(
            f"the archive holds vectors {held}, this database is searched by {active.name}"
            f" ({active.revision})",
            f"{switch}say --embed, which queues what has its audio within reach,"
            " or --no-embed, which leaves it findable by landmarks alone",
        )


def adopt(
    connection: Connection, header: Header, *, embed: bool | None, collection: str | None = None
) -> Adopted:
    """Make a database ready for an archive's assets, whole or not at all, as far as it fits.

    `collection` is where they will go instead of the archive's collections.
    """
    with connection.transaction():
        require_adoptable(connection, header, embed=embed)
        notes: list[str] = []
        is_empty = _is_empty(connection)
        for content_type in header.content_types:
            notes += _content_type(connection, content_type, is_empty=is_empty)
        profile_id = _profile(connection, header, notes)
        model_ids = tuple(_model(connection, model, notes) for model in header.models)
        if is_empty:
            _take_over(connection, header, model_ids, notes)
        active = active_model(connection)
        for named in header.collections:
            if collection is None or len(header.collections) == 1:
                _collection(connection, named, collection)
        if collection is not None:
            ensure_collection(connection, collection)
    return Adopted(profile_id, model_ids, active.model_id, active.name, notes)


def _collection(connection: Connection, named: NamedCollection, name: str | None) -> None:
    connection.execute(
        "INSERT INTO fpdb.collection (name, description, created_at)"
        " VALUES (%s, %s, %s::timestamptz) ON CONFLICT DO NOTHING",
        (named.name if name is None else name, named.description, named.created_at),
    )


def _require_profile(header: Header) -> None:
    digest = header.profile.digest
    if digest not in {profile.digest for profile in PROFILES.values()}:
        raise DatabaseError(
            f"the archive holds landmarks of profile {header.profile.name} ({digest}), which this"
            " program does not have",
            f"use the program that wrote it ({header.program}), or a newer one",
        )


def _profile(connection: Connection, header: Header, notes: list[str]) -> int:
    """Return the key of the archive's profile, which becomes the active one where it is not."""
    digest = header.profile.digest
    name, searched = _searched_profile(connection)
    if searched != digest:
        (ours,) = (profile for profile in PROFILES.values() if profile.digest == digest)
        register_profile(connection, ours)
        connection.execute("SELECT fpdb.activate_profile(%s)", (digest,))
        notes.append(f"profile {ours.name} is active now instead of {name}, as in the archive")
    return active_profile(connection)[0]


def _searched_profile(connection: Connection) -> tuple[str, str]:
    row = connection.execute("SELECT name, digest FROM fpdb.profile WHERE is_active").fetchone()
    return (str(row[0]), str(row[1])) if row else ("none", "")


def _model(connection: Connection, model: Model, notes: list[str]) -> int:
    """Return the key of a model, which is made known where it is not: nobody fills it unasked."""
    key = _model_key(connection, model)
    if key is not None:
        return key
    row = connection.execute(
        "SELECT fpdb.register_model(%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            model.name,
            model.revision,
            model.source,
            model.dims,
            model.sample_rate,
            model.confidence_intercept,
            model.confidence_slope,
            model.index_type,
        ),
    ).fetchone()
    assert row is not None  # noqa: S101 — a function always gives a row
    notes.append(f"model {model.name} is known now, with the vectors of the archive")
    return int(row[0])


def _model_key(connection: Connection, model: Model) -> int | None:
    row = connection.execute(
        "SELECT model_id FROM fpdb.model WHERE name = %s AND revision = %s",
        (model.name, model.revision),
    ).fetchone()
    return int(row[0]) if row else None


def _require_same_dims(connection: Connection, model: Model) -> None:
    row = connection.execute(
        "SELECT dims FROM fpdb.model WHERE name = %s AND revision = %s",
        (model.name, model.revision),
    ).fetchone()
    if row is not None and row[0] != model.dims:
        raise DatabaseError(
            f"model {model.name} has {model.dims} dimensions in the archive, and {row[0]} here",
            "one of them is not what its name says: nothing was taken in",
        )


def _take_over(
    connection: Connection, header: Header, model_ids: tuple[int, ...], notes: list[str]
) -> None:
    """Let the archive's models serve as they did; nothing is queued, as nothing is there."""
    for model, model_id in zip(header.models, model_ids, strict=True):
        former = active_model(connection).name if has_active_model(connection) else "none"
        if model.state == "active" and former != model.name:
            notes.append(f"model {model.name} is active now instead of {former}, as in the archive")
        if model.state == "active":
            activate_model(connection, model_id)
        elif active_model(connection).model_id != model_id:
            backfill_model(connection, model_id)
        for content_type, weight in model.weights.items():
            if any(known.name == content_type for known in header.content_types):
                weigh_model(connection, read(connection, model_id), content_type, weight)


def _content_type(
    connection: Connection, content_type: ContentType, *, is_empty: bool
) -> list[str]:
    """Make a content type known; thresholds that are there stay, unless nothing else is."""
    values = (
        content_type.landmark_threshold,
        content_type.vector_threshold,
        content_type.match_threshold,
        content_type.calibration,
    )
    made = connection.execute(
        "INSERT INTO fpdb.content_type (name, landmark_threshold, vector_threshold,"
        " match_threshold, calibration) VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (content_type.name, *values),
    )
    if made.rowcount:
        return [f"content type {content_type.name} is known now, with the archive's thresholds"]
    row = connection.execute(
        "SELECT landmark_threshold, vector_threshold, match_threshold, calibration"
        " FROM fpdb.content_type WHERE name = %s",
        (content_type.name,),
    ).fetchone()
    if row is None or row[:3] == values[:3]:
        return []
    if is_empty and row[3] is None:
        connection.execute(
            "UPDATE fpdb.content_type SET landmark_threshold = %s, vector_threshold = %s,"
            " match_threshold = %s, calibration = %s WHERE name = %s",
            (*values, content_type.name),
        )
        return [f"content type {content_type.name} has the archive's thresholds now"]
    return [
        f"content type {content_type.name} keeps its thresholds"
        f" (of a match {row[2]:g}; {content_type.match_threshold:g} in the archive)"
    ]


def _is_empty(connection: Connection) -> bool:
    row = connection.execute("SELECT NOT EXISTS (SELECT FROM fpdb.asset)").fetchone()
    return bool(row and row[0])
