"""Models side by side: of any dimension, filled beside the active one, fused; and what is done to sound before."""

from alembic import op
from fingerprintdb.store.migration import run_script

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Other arguments, or other names of them, make another function; sql/ declares the new ones.
UPGRADE = """
DROP VIEW IF EXISTS fpdb.audio_fingerprint_extractor_v1;
DROP FUNCTION IF EXISTS fpdb.register_model(text, text, text, int, int, float8, float8);
DROP FUNCTION IF EXISTS fpdb.activate_model(smallint);
DROP FUNCTION IF EXISTS fpdb.queue_jobs(bigint[], text, smallint);
DROP FUNCTION IF EXISTS fpdb.queue_building(bigint[]);
DROP FUNCTION IF EXISTS fpdb.drop_building_jobs(smallint);
DROP FUNCTION IF EXISTS fpdb.match(int[], int[], @extschema:vector@.vector[], float8[], text, smallint, int, float8, text, text, jsonb, bigint, bit varying[], float8, int, int, int);
DROP FUNCTION IF EXISTS fpdb.evidence(int[], int[], bit varying[], @extschema:vector@.vector[], float8[], text, smallint, text, text, jsonb, bigint, float8, int, int, int);

ALTER TABLE fpdb.model
    DROP CONSTRAINT model_dims_check,
    -- pgvector indexes no more, and a row must fit a page.
    ADD CONSTRAINT model_dims_check CHECK (dims BETWEEN 1 AND 2000),
    ALTER COLUMN state SET DEFAULT 'retired',
    ADD COLUMN index_type text NOT NULL DEFAULT 'vector',
    ADD CONSTRAINT model_index_type_is_known CHECK (index_type IN ('vector', 'halfvec'));
COMMENT ON COLUMN fpdb.model.state IS
    'active (searched and filled), shadow (filled beside it), retired (neither; what it has stays until it is dropped).';
COMMENT ON COLUMN fpdb.model.index_type IS
    'What its HNSW index holds: vector, or halfvec, of half the size. The vectors themselves stay whole.';

-- An index says the length of its vectors, as the column no longer does.
DO $$
DECLARE
    partition record;
BEGIN
    FOR partition IN SELECT 'embedding_' || m.model_id AS name, m.dims FROM fpdb.model m LOOP
        EXECUTE format('DROP INDEX IF EXISTS fpdb.%I', partition.name || '_hnsw_idx');
    END LOOP;
    ALTER TABLE fpdb.embedding ALTER COLUMN embedding TYPE @extschema:vector@.vector;
    ALTER TABLE fpdb.embedding ALTER COLUMN embedding SET STORAGE PLAIN;
    FOR partition IN SELECT 'embedding_' || m.model_id AS name, m.dims FROM fpdb.model m LOOP
        EXECUTE format('ALTER TABLE fpdb.%I ALTER COLUMN embedding SET STORAGE PLAIN,'
            ' ADD CONSTRAINT embedding_has_dims CHECK (@extschema:vector@.vector_dims(embedding) = %s)',
            partition.name, partition.dims);
        EXECUTE format('CREATE INDEX %I ON fpdb.%I USING hnsw'
            ' ((embedding::@extschema:vector@.vector(%s)) @extschema:vector@.vector_cosine_ops)',
            partition.name || '_hnsw_idx', partition.name, partition.dims);
    END LOOP;
END
$$;

CREATE TABLE fpdb.asset_model (
    asset_id bigint NOT NULL REFERENCES fpdb.asset ON DELETE CASCADE,
    model_id smallint NOT NULL REFERENCES fpdb.model ON DELETE CASCADE,
    revision int NOT NULL,
    vectors int,
    error text,
    PRIMARY KEY (asset_id, model_id)
);
COMMENT ON TABLE fpdb.asset_model IS
    'Which assets have which model''s vectors; fpdb.asset itself speaks of the active model.';
COMMENT ON COLUMN fpdb.asset_model.asset_id IS 'The asset.';
COMMENT ON COLUMN fpdb.asset_model.model_id IS 'The model.';
COMMENT ON COLUMN fpdb.asset_model.revision IS
    'The asset''s embedding_revision that they were made for; of an older one they are searched, and made again when the model is wanted.';
COMMENT ON COLUMN fpdb.asset_model.vectors IS 'Vectors stored, none of a silent recording; NULL where it was never embedded.';
COMMENT ON COLUMN fpdb.asset_model.error IS 'Why the last attempt to fill it failed, and the remedy.';
INSERT INTO fpdb.asset_model (asset_id, model_id, revision, vectors)
SELECT e.asset_id, e.model_id, a.embedding_revision - (a.embedding_status <> 'ready')::int, count(*)
FROM fpdb.embedding e JOIN fpdb.asset a USING (asset_id)
GROUP BY e.asset_id, e.model_id, a.asset_id;
-- Of silence there is no vector to tell that it was heard.
INSERT INTO fpdb.asset_model (asset_id, model_id, revision, vectors)
SELECT a.asset_id, m.model_id, a.embedding_revision, 0
FROM fpdb.asset a JOIN fpdb.model m ON m.state = 'active' WHERE a.embedding_status = 'ready'
ON CONFLICT DO NOTHING;
-- What a shadow was before, nobody filled.
UPDATE fpdb.model SET state = 'retired' WHERE state = 'shadow';

CREATE TABLE fpdb.model_weight (
    content_type text NOT NULL REFERENCES fpdb.content_type ON UPDATE CASCADE ON DELETE CASCADE,
    model_id smallint NOT NULL REFERENCES fpdb.model ON DELETE CASCADE,
    weight float8 NOT NULL CHECK (weight BETWEEN 0 AND 1),
    PRIMARY KEY (content_type, model_id)
);
COMMENT ON TABLE fpdb.model_weight IS
    'Which models are asked beside the active one, and how far each is believed. Without a row the active model''s weight is 1 and every other''s 0.';
COMMENT ON COLUMN fpdb.model_weight.content_type IS 'Of the assets that are found.';
COMMENT ON COLUMN fpdb.model_weight.model_id IS 'The model.';
COMMENT ON COLUMN fpdb.model_weight.weight IS 'Share of its confidence that is believed (0 to 1).';

ALTER TABLE fpdb.asset
    ADD COLUMN normalize_loudness boolean NOT NULL DEFAULT true,
    ADD COLUMN separator text CHECK (separator <> '');
COMMENT ON COLUMN fpdb.asset.normalize_loudness IS 'Bring each segment to one level before it is embedded, as queries are.';
COMMENT ON COLUMN fpdb.asset.separator IS
    'Plug-in that each segment goes through before it is embedded, such as repet-sim; NULL for none.';
-- Only the built-in model hears no level.
ALTER TABLE fpdb.asset DISABLE TRIGGER USER;
UPDATE fpdb.asset a SET normalize_loudness = false
WHERE EXISTS (SELECT FROM fpdb.asset_model h JOIN fpdb.model m USING (model_id)
    WHERE h.asset_id = a.asset_id AND m.name <> 'builtin');
ALTER TABLE fpdb.asset ENABLE TRIGGER USER;
"""

# The former release knows models of 512 dimensions, one an asset.
DOWNGRADE = """
DROP VIEW IF EXISTS fpdb.model_status, fpdb.audio_fingerprint_extractor_v1;
DROP FUNCTION IF EXISTS fpdb.register_model(text, text, text, int, int, float8, float8, text);
DROP FUNCTION IF EXISTS fpdb.activate_model(smallint);
DROP FUNCTION IF EXISTS fpdb.backfill_model(smallint);
DROP FUNCTION IF EXISTS fpdb.retire_model(smallint);
DROP FUNCTION IF EXISTS fpdb.index_model(smallint);
DROP FUNCTION IF EXISTS fpdb.compare_models(smallint, smallint, int, int, float8);
DROP FUNCTION IF EXISTS fpdb.model_named(smallint);
DROP FUNCTION IF EXISTS fpdb.queue_jobs(bigint[], text, smallint);
DROP FUNCTION IF EXISTS fpdb.queue_building(bigint[], text);
DROP FUNCTION IF EXISTS fpdb.drop_building_jobs(smallint, text);
DROP FUNCTION IF EXISTS fpdb.drop_failed_jobs(text);
DROP FUNCTION IF EXISTS fpdb.match_models(@extschema:vector@.vector[], float8[], smallint[], int, text, text, jsonb, bigint);
DROP FUNCTION IF EXISTS fpdb.match(int[], int[], @extschema:vector@.vector[], float8[], text, smallint, int, float8, text, text, jsonb, bigint, bit varying[], float8, int, int, int, smallint[]);
DROP FUNCTION IF EXISTS fpdb.evidence(int[], int[], bit varying[], @extschema:vector@.vector[], float8[], text, smallint, text, text, jsonb, bigint, float8, int, int, int, smallint[]);

DO $$
DECLARE
    partition record;
BEGIN
    IF to_regclass('fpdb_queue.procrastinate_jobs') IS NOT NULL THEN
        DELETE FROM fpdb_queue.procrastinate_jobs WHERE args ? 'model_id' AND status IN ('todo', 'failed');
    END IF;
    FOR partition IN SELECT 'embedding_' || m.model_id AS name FROM fpdb.model m LOOP
        EXECUTE format('DROP INDEX IF EXISTS fpdb.%I', partition.name || '_hnsw_idx');
    END LOOP;
    FOR partition IN SELECT 'embedding_' || m.model_id AS name FROM fpdb.model m WHERE m.dims <> 512 LOOP
        EXECUTE format('DROP TABLE IF EXISTS fpdb.%I', partition.name);
    END LOOP;
    -- What is active and of another length goes too: `fpdb init` chooses one.
    DELETE FROM fpdb.model WHERE dims <> 512;
    FOR partition IN SELECT 'embedding_' || m.model_id AS name FROM fpdb.model m LOOP
        EXECUTE format('ALTER TABLE fpdb.%I DROP CONSTRAINT embedding_has_dims', partition.name);
    END LOOP;
    ALTER TABLE fpdb.embedding ALTER COLUMN embedding TYPE @extschema:vector@.vector(512);
    FOR partition IN SELECT 'embedding_' || m.model_id AS name FROM fpdb.model m LOOP
        EXECUTE format('CREATE INDEX %I ON fpdb.%I USING hnsw (embedding @extschema:vector@.vector_cosine_ops)',
            partition.name || '_hnsw_idx', partition.name);
    END LOOP;
END
$$;
DROP TABLE fpdb.model_weight, fpdb.asset_model;
DROP TRIGGER IF EXISTS asset_before_update ON fpdb.asset;
ALTER TABLE fpdb.asset DROP COLUMN normalize_loudness, DROP COLUMN separator;
UPDATE fpdb.model SET state = 'shadow' WHERE state = 'retired';
ALTER TABLE fpdb.model
    DROP COLUMN index_type,
    DROP CONSTRAINT model_dims_check,
    ADD CONSTRAINT model_dims_check CHECK (dims = 512),
    ALTER COLUMN state SET DEFAULT 'shadow';
COMMENT ON COLUMN fpdb.model.state IS 'active (searched and filled), shadow (kept), retired (neither).';
"""


def upgrade() -> None:
    run_script(op.get_bind(), UPGRADE)


def downgrade() -> None:
    run_script(op.get_bind(), DOWNGRADE)
