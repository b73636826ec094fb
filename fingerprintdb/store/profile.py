"""Which signal parameters a database's landmarks and bits are made with."""

from typing import Any

from psycopg.rows import dict_row

from fingerprintdb.profile import PROFILES, Profile
from fingerprintdb.store.database import Connection, DatabaseError


class ProfileChangedError(DatabaseError):
    """What was made is of a profile that is no longer wanted."""

    transient = True

    def __init__(self) -> None:
        super().__init__("another profile was chosen meanwhile", "it is tried again with that")


def register_profiles(connection: Connection) -> None:
    """Make this program's profiles known; the first one ever becomes the active one."""
    for profile in PROFILES.values():
        register_profile(connection, profile)


def register_profile(connection: Connection, profile: Profile) -> int:
    """Make a profile known and return its key."""
    row = connection.execute(
        "SELECT fpdb.register_profile(%s, %s, %s::jsonb)",
        (profile.name, profile.digest, profile.to_json()),
    ).fetchone()
    assert row is not None  # noqa: S101 — a function always gives a row
    return int(row[0])


def active_profile(connection: Connection) -> tuple[int, Profile]:
    """Return the key and the parameters that are in force; DatabaseError if they are not ours."""
    row = connection.execute("SELECT profile_id FROM fpdb.profile WHERE is_active").fetchone()
    if row is None:
        raise DatabaseError("no landmark profile is active in this database", "run `fpdb init`")
    return int(row[0]), read_profile(connection, int(row[0]))


def read_profile(connection: Connection, profile_id: int) -> Profile:
    """Return the parameters of a profile; DatabaseError if they are not ours."""
    row = connection.execute(
        "SELECT name, digest FROM fpdb.profile WHERE profile_id = %s", (profile_id,)
    ).fetchone()
    name, digest = row or (str(profile_id), "unknown")
    for profile in PROFILES.values():
        if profile.digest == digest:
            return profile
    raise DatabaseError(
        f"landmarks of profile {name} ({digest}) are wanted in this database, which this program"
        " does not have",
        "build one that it has beside it: fpdb profile build accurate;"
        " or move at once: fpdb init --profile accurate",
    )


def hold_profile(connection: Connection, profile_id: int) -> str:
    """Keep a profile in its state until the transaction ends: active, building or retired.

    Whoever changes a state takes the profile's row first and assets after it, and so must we.
    """
    row = connection.execute(
        "SELECT state FROM fpdb.profile WHERE profile_id = %s FOR SHARE", (profile_id,)
    ).fetchone()
    return str(row[0]) if row else "retired"


def mark_stored(connection: Connection, asset_id: int, profile_id: int, landmarks: int) -> None:
    """Write that an asset has a profile's landmarks, and how many."""
    connection.execute(
        "INSERT INTO fpdb.asset_profile (asset_id, profile_id, revision, landmark_count)"
        " SELECT asset_id, %s, landmark_revision, %s FROM fpdb.asset WHERE asset_id = %s"
        " ON CONFLICT (asset_id, profile_id) DO UPDATE SET revision = excluded.revision,"
        " landmark_count = excluded.landmark_count, error = NULL",
        (profile_id, landmarks, asset_id),
    )


def mark_failed(
    connection: Connection, asset_id: int, profile_id: int, revision: int, reason: str
) -> None:
    """Write why an asset could not be fingerprinted with a profile; what it has of it stays."""
    connection.execute(
        "INSERT INTO fpdb.asset_profile (asset_id, profile_id, revision, error)"
        " SELECT asset_id, %s, landmark_revision, %s FROM fpdb.asset"
        " WHERE asset_id = %s AND landmark_revision = %s"
        " ON CONFLICT (asset_id, profile_id) DO UPDATE SET error = excluded.error",
        (profile_id, reason, asset_id, revision),
    )


def profiles(connection: Connection) -> list[dict[str, Any]]:
    """Return every profile with its state and how far it is, as columns of fpdb.profile_status."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "SELECT name, digest, state, assets, share, failed, an_error FROM fpdb.profile_status"
            " ORDER BY profile_id"
        ).fetchall()


def build_profile(connection: Connection, name: str) -> int:
    """Have workers fill a profile beside the active one; return how many assets are queued."""
    return _changed(connection, "build", _of_program(name))


def activate_profile(connection: Connection, name: str) -> int:
    """Make a profile the one that is searched; return how many assets are queued for it."""
    return _changed(connection, "activate", _of_program(name))


def drop_profile(connection: Connection, name: str) -> int:
    """Remove what a profile, by name or digest, has stored; return how many assets had it."""
    known = {row["digest"]: row["name"] for row in profiles(connection)}
    ours = PROFILES.get(name)
    if ours is not None and ours.digest in known:
        return _changed(connection, "drop", ours.digest)
    named = [digest for digest in known if name in {digest, known[digest]}]
    if len(named) != 1:
        raise DatabaseError(
            f"{len(named)} profiles are called {name!r}" if named else f"no profile is {name!r}",
            f"name a digest: {', '.join(f'{digest} ({known[digest]})' for digest in known)}",
        )
    return _changed(connection, "drop", named[0])


def _of_program(name: str) -> str:
    """Return the digest of one of the program's profiles, which its workers can make."""
    if name not in PROFILES:
        raise DatabaseError(
            f"there is no profile {name!r}", f"there are {' and '.join(sorted(PROFILES))}"
        )
    return PROFILES[name].digest


def _changed(connection: Connection, change: str, digest: str) -> int:
    row = connection.execute(f"SELECT fpdb.{change}_profile(%s)".encode(), (digest,)).fetchone()
    assert row is not None  # noqa: S101 — a function always gives a row
    return int(row[0])
