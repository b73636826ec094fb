"""Questions in words: fpdb.query takes a sentence, and moments answer it."""

from alembic import op
from fingerprintdb.store.migration import run_script

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Other arguments make another function; sql/ declares the new ones.
UPGRADE = """
DROP FUNCTION IF EXISTS fpdb.nearest_segments(@extschema:vector@.vector, int, smallint, float8, text, text, jsonb, bigint);

ALTER TABLE fpdb.query
    ADD COLUMN text text CHECK (text <> ''),
    ADD COLUMN min_duration_sec float8,
    ADD COLUMN max_duration_sec float8,
    DROP CONSTRAINT query_names_audio,
    ADD CONSTRAINT query_names_audio_or_text CHECK ((num_nonnulls(uri, content) > 0) <> (text IS NOT NULL));
COMMENT ON TABLE fpdb.query IS
    'Questions from plain SQL: INSERT a clip or a sentence, a worker answers in fpdb.query_match or fpdb.query_moment and says NOTIFY fpdb_query with the query_id.';
COMMENT ON COLUMN fpdb.query.text IS 'What to look for in words, instead of a clip; needs a model that knows words.';
COMMENT ON COLUMN fpdb.query.min_duration_sec IS 'In words: search only assets at least so long; NULL searches all.';
COMMENT ON COLUMN fpdb.query.max_duration_sec IS 'In words: search only assets at most so long; NULL searches all.';

CREATE TABLE fpdb.query_moment (
    query_id bigint NOT NULL REFERENCES fpdb.query ON DELETE CASCADE,
    rank int NOT NULL,
    asset_id bigint NOT NULL REFERENCES fpdb.asset ON DELETE CASCADE,
    start_sec float8 NOT NULL,
    end_sec float8 NOT NULL,
    similarity float8 NOT NULL,
    PRIMARY KEY (query_id, rank)
);
CREATE INDEX query_moment_asset_id_idx ON fpdb.query_moment (asset_id);
COMMENT ON TABLE fpdb.query_moment IS 'Answers to sentences in fpdb.query, best first.';
COMMENT ON COLUMN fpdb.query_moment.query_id IS 'The query.';
COMMENT ON COLUMN fpdb.query_moment.rank IS '1 is the best.';
COMMENT ON COLUMN fpdb.query_moment.asset_id IS 'The asset found.';
COMMENT ON COLUMN fpdb.query_moment.start_sec IS 'Where the moment begins in the asset.';
COMMENT ON COLUMN fpdb.query_moment.end_sec IS 'Where the moment ends in the asset.';
COMMENT ON COLUMN fpdb.query_moment.similarity IS 'Cosine of the sentence and the most similar segment.';
"""

DOWNGRADE = """
DROP FUNCTION IF EXISTS fpdb.query(text, int, text, text, jsonb, float8, float8);
DROP FUNCTION IF EXISTS fpdb.nearest_moments(@extschema:vector@.vector, int, smallint, float8, text, text, jsonb, bigint, float8, float8);
DROP FUNCTION IF EXISTS fpdb.nearest_segments(@extschema:vector@.vector, int, smallint, float8, text, text, jsonb, bigint, float8, float8);
DROP FUNCTION IF EXISTS fpdb.index_recall(int, int, int, smallint, float8);
DROP FUNCTION IF EXISTS fpdb.assets_in_scope(text, text, jsonb, float8, float8);
DROP TABLE fpdb.query_moment;
DELETE FROM fpdb.query WHERE text IS NOT NULL;
ALTER TABLE fpdb.query
    DROP CONSTRAINT query_names_audio_or_text,
    DROP COLUMN text,
    DROP COLUMN min_duration_sec,
    DROP COLUMN max_duration_sec,
    ADD CONSTRAINT query_names_audio CHECK (num_nonnulls(uri, content) > 0);
COMMENT ON TABLE fpdb.query IS
    'Clips to identify from plain SQL: INSERT one, a worker answers in fpdb.query_match and says NOTIFY fpdb_query with the query_id.';
"""


def upgrade() -> None:
    run_script(op.get_bind(), UPGRADE)


def downgrade() -> None:
    run_script(op.get_bind(), DOWNGRADE)
