"""Runs the revisions, then replays sql/ in the same transaction whenever the target is head."""

from alembic.runtime.migration import MigrationContext

from alembic import context
from fingerprintdb.settings import Settings
from fingerprintdb.store import migration, schema
from fingerprintdb.store.database import engine


def run() -> None:
    """Upgrade, downgrade or compare the database that the caller or the settings name."""
    url = context.config.attributes.get("url")
    if url is None:
        url = Settings().open_database()
    with engine(url).connect() as connection:
        migration.prepare(connection)
        # Comments are written once, in the revisions; `alembic check` compares the rest.
        connection.dialect.supports_comments = False
        context.configure(
            connection=connection,
            target_metadata=schema.metadata,
            version_table_schema=schema.SCHEMA,
            include_schemas=True,
            include_name=schema.is_ours,
            transactional_ddl=True,
        )
        with context.begin_transaction():
            migration.take_lock(connection)
            context.run_migrations()
            if _target_is_head():
                migration.replay(connection)
        connection.commit()


def _target_is_head() -> bool:
    """Tell an upgrade to head from `current`, `check` and moves to a middle revision."""
    running: MigrationContext = context.get_context()
    target = running.opts.get("destination_rev")
    head = context.script.get_current_head()
    return target is not None and target in {"head", "heads", head}


run()
