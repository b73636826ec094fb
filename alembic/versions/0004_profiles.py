"""Two profiles side by side: landmarks and bits say whose they are, and a profile has a state."""

from alembic import op
from fingerprintdb.store.migration import run_script

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Other arguments make another function; sql/ declares the new ones.
UPGRADE = """
DROP FUNCTION IF EXISTS fpdb.remove_landmarks(bigint[]);
DROP FUNCTION IF EXISTS fpdb.queue_jobs(bigint[], text);

ALTER TABLE fpdb.profile ADD COLUMN state text NOT NULL DEFAULT 'retired',
    ADD CONSTRAINT profile_state_is_known CHECK (state IN ('active', 'building', 'retired'));
UPDATE fpdb.profile SET state = 'active' WHERE is_active;
ALTER TABLE fpdb.profile DROP COLUMN is_active;
ALTER TABLE fpdb.profile ADD COLUMN is_active boolean NOT NULL GENERATED ALWAYS AS (state = 'active') STORED;
CREATE UNIQUE INDEX profile_active_idx ON fpdb.profile (is_active) WHERE is_active;
COMMENT ON COLUMN fpdb.profile.state IS
    'active (searched and filled), building (filled beside it), retired (neither; what it has stays until it is dropped).';
COMMENT ON COLUMN fpdb.profile.is_active IS 'Whether it is the one that is searched; follows from state.';

-- A default that goes again writes no row, and the bits may be many gigabytes.
DO $$
DECLARE
    active CONSTANT smallint := coalesce((SELECT profile_id FROM fpdb.profile WHERE is_active), 1);
BEGIN
    EXECUTE format('ALTER TABLE fpdb.delta ADD COLUMN profile_id smallint NOT NULL DEFAULT %s', active);
    EXECUTE format('ALTER TABLE fpdb.sub_fingerprint ADD COLUMN profile_id smallint NOT NULL DEFAULT %s', active);
END
$$;
ALTER TABLE fpdb.delta ALTER COLUMN profile_id DROP DEFAULT;
ALTER TABLE fpdb.sub_fingerprint ALTER COLUMN profile_id DROP DEFAULT;
UPDATE fpdb.delta d SET profile_id = a.profile_id FROM fpdb.asset a
WHERE a.asset_id = d.asset_id AND a.profile_id <> d.profile_id;
UPDATE fpdb.sub_fingerprint s SET profile_id = a.profile_id FROM fpdb.asset a
WHERE a.asset_id = s.asset_id AND a.profile_id <> s.profile_id;
COMMENT ON COLUMN fpdb.delta.profile_id IS 'The profile that made it.';
COMMENT ON COLUMN fpdb.sub_fingerprint.profile_id IS 'The profile that made it.';

DROP INDEX fpdb.delta_hash_idx, fpdb.delta_asset_id_idx;
CREATE INDEX delta_hash_idx ON fpdb.delta (profile_id, hash);
CREATE INDEX delta_asset_id_idx ON fpdb.delta (asset_id, profile_id);
ALTER TABLE fpdb.sub_fingerprint DROP CONSTRAINT sub_fingerprint_pkey,
    ADD PRIMARY KEY (asset_id, profile_id, part);

CREATE TABLE fpdb.asset_profile (
    asset_id bigint NOT NULL REFERENCES fpdb.asset ON DELETE CASCADE,
    profile_id smallint NOT NULL REFERENCES fpdb.profile,
    revision int NOT NULL,
    landmark_count int,
    error text,
    PRIMARY KEY (asset_id, profile_id)
);
COMMENT ON TABLE fpdb.asset_profile IS
    'Which assets have which profile''s landmarks and bits; fpdb.asset itself speaks of the active profile.';
COMMENT ON COLUMN fpdb.asset_profile.asset_id IS 'The asset.';
COMMENT ON COLUMN fpdb.asset_profile.profile_id IS 'The profile.';
COMMENT ON COLUMN fpdb.asset_profile.revision IS
    'The asset''s landmark_revision that they were made for; of an older one they are searched, and made again when the profile is wanted.';
COMMENT ON COLUMN fpdb.asset_profile.landmark_count IS 'Landmarks stored; NULL where it has none.';
COMMENT ON COLUMN fpdb.asset_profile.error IS 'Why the last attempt to build it failed, and the remedy.';
INSERT INTO fpdb.asset_profile (asset_id, profile_id, revision, landmark_count)
SELECT asset_id, profile_id, landmark_revision - (landmark_status <> 'ready')::int, coalesce(landmark_count, 0)
FROM fpdb.asset WHERE profile_id IS NOT NULL;
-- Triggers are functions of whichever release replayed sql/ last.
ALTER TABLE fpdb.asset DISABLE TRIGGER USER;
UPDATE fpdb.asset a SET profile_id = NULL, landmark_count = NULL
FROM fpdb.profile p WHERE p.profile_id = a.profile_id AND NOT p.is_active;
ALTER TABLE fpdb.asset ENABLE TRIGGER USER;
COMMENT ON COLUMN fpdb.asset.profile_id IS
    'The active profile where the asset has its landmarks, else NULL; fpdb.asset_profile knows of the others. Filled by the worker.';
COMMENT ON COLUMN fpdb.asset.landmark_count IS 'Landmarks of the active profile stored; filled by the worker.';
"""

# The former release knows one profile an asset, and no job that names one.
DOWNGRADE = """
DROP VIEW IF EXISTS fpdb.landmark, fpdb.profile_status;
DROP FUNCTION IF EXISTS fpdb.remove_landmarks(bigint[], smallint);
DROP FUNCTION IF EXISTS fpdb.queue_jobs(bigint[], text, smallint);
DROP FUNCTION IF EXISTS fpdb.queue_building(bigint[]);
DROP FUNCTION IF EXISTS fpdb.drop_building_jobs(smallint);
DROP FUNCTION IF EXISTS fpdb.profile_key(text);
DROP FUNCTION IF EXISTS fpdb.build_profile(text);
DROP FUNCTION IF EXISTS fpdb.drop_profile(text);

DO $$
BEGIN
    IF to_regclass('fpdb_queue.procrastinate_jobs') IS NOT NULL THEN
        DELETE FROM fpdb_queue.procrastinate_jobs WHERE args ? 'profile_id' AND status IN ('todo', 'failed');
    END IF;
END
$$;
DELETE FROM fpdb.delta d
WHERE NOT EXISTS (SELECT FROM fpdb.asset a WHERE a.asset_id = d.asset_id AND a.profile_id = d.profile_id);
DELETE FROM fpdb.block b USING fpdb.run r, fpdb.asset a
WHERE r.run_id = b.run_id AND a.asset_id = b.asset_id AND a.profile_id IS DISTINCT FROM r.profile_id;
DELETE FROM fpdb.sub_fingerprint s USING fpdb.asset a
WHERE a.asset_id = s.asset_id AND a.profile_id IS DISTINCT FROM s.profile_id;
DROP TABLE fpdb.asset_profile;
COMMENT ON COLUMN fpdb.asset.profile_id IS 'The profile that made the landmarks; filled by the worker.';
COMMENT ON COLUMN fpdb.asset.landmark_count IS 'Landmarks stored; filled by the worker.';

ALTER TABLE fpdb.sub_fingerprint DROP CONSTRAINT sub_fingerprint_pkey;
ALTER TABLE fpdb.sub_fingerprint DROP COLUMN profile_id, ADD PRIMARY KEY (asset_id, part);
-- The indexes of delta leave with the column.
ALTER TABLE fpdb.delta DROP COLUMN profile_id;
CREATE INDEX delta_hash_idx ON fpdb.delta (hash);
CREATE INDEX delta_asset_id_idx ON fpdb.delta (asset_id);

ALTER TABLE fpdb.profile ALTER COLUMN is_active DROP EXPRESSION, ALTER COLUMN is_active SET DEFAULT false;
ALTER TABLE fpdb.profile DROP COLUMN state;
"""


def upgrade() -> None:
    run_script(op.get_bind(), UPGRADE)


def downgrade() -> None:
    run_script(op.get_bind(), DOWNGRADE)
