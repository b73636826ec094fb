"""Runs the revisions, then replays sql/ in the same transaction whenever they end at head."""

from alembic import context
from fingerprintdb.settings import Settings
from fingerprintdb.store import migration, schema
from fingerprintdb.store.database import SCHEMA, engine


def run() -> None:
    """Upgrade, downgrade or compare the database that the caller or the settings name."""
    url = context.config.attributes.get("url")
    if url is None:
        url = Settings().open_database()
    with engine(url).connect() as connection:
        # Comments are written once, in the revisions; `alembic check` compares the rest.
        connection.dialect.supports_comments = False
        context.configure(
            connection=connection,
            target_metadata=schema.metadata,
            version_table_schema=SCHEMA,
            include_schemas=True,
            include_name=schema.is_ours,
            transactional_ddl=True,
        )
        # `current`, `check` and `history` look; they name no destination and write nothing.
        is_move = context.get_context().opts.get("destination_rev") is not None
        if is_move:
            migration.prepare(connection)
        with context.begin_transaction():
            migration.take_lock(connection)
            context.run_migrations()
            if is_move and _is_at_head():
                migration.replay(connection)
        connection.commit()


def _is_at_head() -> bool:
    """Tell a move that ended at head, however it was asked for, from one to a middle revision."""
    return context.get_context().get_current_heads() == (context.script.get_current_head(),)


run()
