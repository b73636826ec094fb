"""Which embedding models a database knows, which is active, and how far each of them is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row, dict_row

from fingerprintdb.store.database import Connection, DatabaseError, answered

if TYPE_CHECKING:
    from fingerprintdb.embedding import Embedder

COLUMNS = "model_id, name, revision, source"


class ModelChangedError(DatabaseError):
    """Vectors of a model that is no longer wanted."""

    transient = True

    def __init__(self) -> None:
        super().__init__("another model was chosen meanwhile", "it is tried again with that")


@dataclass(frozen=True, slots=True)
class Model:
    """A registered model; `source` is what a worker loads to get it."""

    model_id: int
    name: str
    revision: str
    source: str


def active_model(connection: Connection) -> Model:
    """Return the active model; DatabaseError before `fpdb init`."""
    model = _read(connection, "state = 'active'", {})
    if model is None:
        raise DatabaseError("no embedding model is active in this database", "run `fpdb init`")
    return model


def read_model(connection: Connection, model_id: int) -> Model:
    """Return a model by its key; DatabaseError where it is gone."""
    model = _read(connection, "model_id = %(model_id)s", {"model_id": model_id})
    if model is None:
        raise DatabaseError(f"there is no model {model_id} any more", "see `fpdb model list`")
    return model


def find_model(connection: Connection, name: str) -> Model:
    """Return the model of a name, a revision or a key; DatabaseError where none or several are."""
    with connection.cursor(row_factory=class_row(Model)) as cursor:
        known = cursor.execute(
            f"SELECT {COLUMNS} FROM fpdb.model ORDER BY model_id"  # noqa: S608 — constants
        ).fetchall()
    named = [m for m in known if name in {m.name, m.revision, str(m.model_id)}]
    if len(named) == 1:
        return named[0]
    there = ", ".join(f"{m.model_id} ({m.name}, {m.revision})" for m in known) or "none"
    raise DatabaseError(
        f"{len(named)} models are called {name!r}" if named else f"no model is {name!r}",
        f"name a key: {there}; `fpdb model add` makes one known",
    )


def fused_models(connection: Connection) -> list[Model]:
    """Return the models that a clip is heard by: the active one, then those that have weight."""
    with connection.cursor(row_factory=class_row(Model)) as cursor:
        others = cursor.execute(
            f"SELECT {COLUMNS} FROM fpdb.model m WHERE state = 'shadow'"  # noqa: S608 — constants
            " AND EXISTS (SELECT FROM fpdb.model_weight w"
            "  WHERE w.model_id = m.model_id AND w.weight > 0) ORDER BY model_id"
        ).fetchall()
    return [active_model(connection), *others]


def has_active_model(connection: Connection) -> bool:
    """Say whether `fpdb init` has chosen a model."""
    row = connection.execute("SELECT fpdb.active_model() IS NOT NULL").fetchone()
    return bool(row and row[0])


def register_model(
    connection: Connection,
    embedder: "Embedder",
    *,
    confidence: tuple[float, float] | None = None,
    index_type: str | None = None,
) -> int:
    """Make a model known and return its key; `index_type` is vector or halfvec, None keeps it."""
    intercept, slope = confidence or (None, None)
    row = connection.execute(
        "SELECT fpdb.register_model(%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            embedder.name,
            embedder.revision,
            embedder.name,
            embedder.dims,
            embedder.sample_rate_hz,
            intercept,
            slope,
            index_type,
        ),
    ).fetchone()
    assert row is not None  # noqa: S101 — a function always gives a row
    return int(row[0])


def choose_model(
    connection: Connection, embedder: "Embedder", *, confidence: tuple[float, float] | None = None
) -> int:
    """Make an embedder's model known and the active one; return how many assets are queued."""
    with connection.transaction():
        model_id = register_model(connection, embedder, confidence=confidence)
        return activate_model(connection, model_id)


def activate_model(connection: Connection, model_id: int) -> int:
    """Make a model the one that is searched; return how many assets are queued for it."""
    return _changed(connection, "activate_model", model_id)


def backfill_model(connection: Connection, model_id: int) -> int:
    """Have workers fill a model beside the active one; return how many assets are queued."""
    return _changed(connection, "backfill_model", model_id)


def index_model(connection: Connection, model_id: int) -> bool:
    """Build a model's HNSW index where it has none, and say whether it had to."""
    return bool(_changed(connection, "index_model", model_id))


def retire_model(connection: Connection, model_id: int) -> int:
    """Remove a model's vectors; return how many assets had them."""
    return _changed(connection, "retire_model", model_id)


def weigh_model(connection: Connection, model: Model, content_type: str, weight: float) -> None:
    """Set how far a model is believed for a content type (0 to 1); only one that is filled is."""
    filled = connection.execute(
        "INSERT INTO fpdb.model_weight (model_id, content_type, weight)"
        " SELECT model_id, %s, %s FROM fpdb.model WHERE model_id = %s AND state <> 'retired'"
        " ON CONFLICT (model_id, content_type) DO UPDATE SET weight = excluded.weight",
        (content_type, weight, model.model_id),
    )
    if not filled.rowcount:
        raise DatabaseError(
            f"model {model.name} is retired, so no clip is heard by it",
            f"fill it first: fpdb model backfill {model.model_id}",
        )


def calibrate_model(connection: Connection, model_id: int, intercept: float, slope: float) -> None:
    """Say how a model's similarity tells identity; matches by it have a confidence from now on."""
    connection.execute(
        "UPDATE fpdb.model SET confidence_intercept = %s, confidence_slope = %s"
        " WHERE model_id = %s",
        (intercept, slope, model_id),
    )


def models(connection: Connection) -> list[dict[str, Any]]:
    """Return every model with its state and how far it is: the rows of fpdb.model_status."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("SELECT * FROM fpdb.model_status ORDER BY model_id").fetchall()


def agreement(connection: Connection, model_id: int, other_id: int, samples: int) -> dict[str, Any]:
    """Return how far two models agree on what sounds alike: the row of fpdb.compare_models."""
    with answered(), connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            "SELECT * FROM fpdb.compare_models(%s::smallint, %s::smallint, %s)",
            (model_id, other_id, samples),
        ).fetchone()
    assert row is not None  # noqa: S101 — an aggregate always gives a row
    return row


def hold_model(connection: Connection, model_id: int) -> str:
    """Keep a model in its state until the transaction ends: active, shadow or retired.

    Whoever changes a state takes the model's row first and assets after it, and so must we.
    """
    row = connection.execute(
        "SELECT state FROM fpdb.model WHERE model_id = %s FOR SHARE", (model_id,)
    ).fetchone()
    return str(row[0]) if row else "retired"


def mark_embedded(connection: Connection, asset_id: int, model_id: int, vectors: int) -> None:
    """Write that an asset has a model's vectors, and how many."""
    connection.execute(
        "INSERT INTO fpdb.asset_model (asset_id, model_id, revision, vectors)"
        " SELECT asset_id, %s, embedding_revision, %s FROM fpdb.asset WHERE asset_id = %s"
        " ON CONFLICT (asset_id, model_id) DO UPDATE SET revision = excluded.revision,"
        " vectors = excluded.vectors, error = NULL",
        (model_id, vectors, asset_id),
    )


def mark_not_embedded(
    connection: Connection, asset_id: int, model_id: int, revision: int, reason: str
) -> None:
    """Write why an asset could not be embedded with a model; what it has of it stays."""
    connection.execute(
        "INSERT INTO fpdb.asset_model (asset_id, model_id, revision, error)"
        " SELECT asset_id, %s, embedding_revision, %s FROM fpdb.asset"
        " WHERE asset_id = %s AND embedding_revision = %s"
        " ON CONFLICT (asset_id, model_id) DO UPDATE SET error = excluded.error",
        (model_id, reason, asset_id, revision),
    )


def _read(connection: Connection, condition: str, values: dict[str, Any]) -> Model | None:
    with connection.cursor(row_factory=class_row(Model)) as cursor:
        return cursor.execute(
            f"SELECT {COLUMNS} FROM fpdb.model WHERE {condition}".encode(),  # noqa: S608 — ours
            values,
        ).fetchone()


def _changed(connection: Connection, function: str, model_id: int) -> int:
    with answered():
        row = connection.execute(
            f"SELECT fpdb.{function}(%s::smallint)".encode(), (model_id,)
        ).fetchone()
    assert row is not None  # noqa: S101 — a function always gives a row
    return int(row[0])
