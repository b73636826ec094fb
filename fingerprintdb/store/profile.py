"""Which signal parameters a database's landmarks and bits are made with."""

from fingerprintdb.profile import PROFILES, Profile
from fingerprintdb.store.database import Connection, DatabaseError


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
    row = connection.execute(
        "SELECT profile_id, name, digest FROM fpdb.profile WHERE is_active"
    ).fetchone()
    if row is None:
        raise DatabaseError("no landmark profile is active in this database", "run `fpdb init`")
    key, name, digest = row
    for profile in PROFILES.values():
        if profile.digest == digest:
            return int(key), profile
    raise DatabaseError(
        f"the landmarks in this database are of profile {name} ({digest}), which this program"
        " does not have",
        "move them to one that it has: fpdb init --profile accurate",
    )


def activate_profile(connection: Connection, name: str) -> int:
    """Make a profile the one that is searched; return how many assets are queued for it."""
    if name not in PROFILES:
        raise DatabaseError(f"there is no profile {name!r}", f"there are {' and '.join(PROFILES)}")
    row = connection.execute(
        "SELECT fpdb.activate_profile(%s)", (PROFILES[name].digest,)
    ).fetchone()
    assert row is not None  # noqa: S101 — a function always gives a row
    return int(row[0])
