"""Tiers of the packed index: a merge goes on over many transactions, each of which frees what it read."""

from alembic import op
from fingerprintdb.store.migration import run_script

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Other arguments or other columns make another function or view; sql/ declares the new ones.
UPGRADE = """
DROP VIEW IF EXISTS fpdb.landmark;
DROP FUNCTION IF EXISTS fpdb.landmark_log_odds(float8, float8);
DROP FUNCTION IF EXISTS fpdb.bit_log_odds(float8, float8, float8, int);
DROP FUNCTION IF EXISTS fpdb.bit_excess(float8, float8, float8);
DROP FUNCTION IF EXISTS fpdb.bit_deviation(float8);

CREATE TABLE fpdb.tier (
    tier_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    profile_id smallint NOT NULL REFERENCES fpdb.profile,
    assets int NOT NULL,
    blocks int NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE fpdb.tier IS
    'Parts of the packed index, each with blocks numbered of its own: one run, or while it is merged some.';
COMMENT ON COLUMN fpdb.tier.tier_id IS 'Key.';
COMMENT ON COLUMN fpdb.tier.profile_id IS 'The profile of all its landmarks.';
COMMENT ON COLUMN fpdb.tier.assets IS 'Assets that it was made with.';
COMMENT ON COLUMN fpdb.tier.blocks IS 'Block numbers given; fpdb.block holds those that still live.';
COMMENT ON COLUMN fpdb.tier.created_at IS 'When the oldest of it was packed.';

INSERT INTO fpdb.tier (tier_id, profile_id, assets, blocks, created_at) OVERRIDING SYSTEM VALUE
SELECT run_id, profile_id, assets, blocks, created_at FROM fpdb.run;
SELECT setval(pg_get_serial_sequence('fpdb.tier', 'tier_id'), (SELECT coalesce(max(tier_id), 0) + 1 FROM fpdb.tier), false);

ALTER TABLE fpdb.run
    ADD COLUMN tier_id int REFERENCES fpdb.tier,
    ADD COLUMN first_block int NOT NULL DEFAULT 0,
    ADD COLUMN merged_to int;
UPDATE fpdb.run SET tier_id = run_id;
ALTER TABLE fpdb.run
    ALTER COLUMN tier_id SET NOT NULL,
    ALTER COLUMN first_block DROP DEFAULT,
    DROP COLUMN profile_id,
    DROP COLUMN assets;
COMMENT ON TABLE fpdb.run IS
    'Packed postings: written by fpdb.compact(), which moves them to another run when it merges.';
COMMENT ON COLUMN fpdb.run.tier_id IS 'The tier that its blocks belong to.';
COMMENT ON COLUMN fpdb.run.first_block IS 'The number within the tier of the block that entries call 0.';
COMMENT ON COLUMN fpdb.run.blocks IS 'Blocks that its entries may name.';
COMMENT ON COLUMN fpdb.run.merged_to IS
    'Of the run that a merge writes: the mixed hash below which it has everything; NULL where no merge goes on.';

ALTER TABLE fpdb.block RENAME COLUMN run_id TO tier_id;
COMMENT ON COLUMN fpdb.block.tier_id IS 'The tier whose runs hold its entries.';
COMMENT ON COLUMN fpdb.block.block IS 'Number within the tier; an asset''s follow one another.';

-- A merge frees as much as it writes: the sooner that is used again, the smaller the table stays.
ALTER TABLE fpdb.posting SET (autovacuum_vacuum_scale_factor = 0.05);
"""

# 11764425 is the inverse, modulo 2^24, of the multiplier that fpdb.compact() mixes hashes with.
DOWNGRADE = """
DROP VIEW IF EXISTS fpdb.landmark, fpdb.index_status;
DROP FUNCTION IF EXISTS fpdb.compaction_is_due();
DROP FUNCTION IF EXISTS fpdb.check_index();
DROP FUNCTION IF EXISTS fpdb.compact(bigint);
DROP FUNCTION IF EXISTS fpdb.seal(smallint, bigint);
DROP FUNCTION IF EXISTS fpdb.begin_merge(int[]);
DROP FUNCTION IF EXISTS fpdb.advance_merge(int, bigint, bigint);
DROP FUNCTION IF EXISTS fpdb.mergeable_tiers(int[]);
DROP FUNCTION IF EXISTS fpdb.run_shape(int, bigint);
DROP FUNCTION IF EXISTS fpdb.landmark_log_odds(fpdb.coefficients, float8, float8);
DROP FUNCTION IF EXISTS fpdb.bit_log_odds(fpdb.coefficients, float8, float8, float8, int);
DROP FUNCTION IF EXISTS fpdb.bit_excess(fpdb.coefficients, float8, float8, float8);
DROP FUNCTION IF EXISTS fpdb.bit_deviation(fpdb.coefficients, float8);
DROP VIEW IF EXISTS fpdb.coefficients;

-- A tier that is being merged has several runs, which the former release does not know: unpacked, it is
-- found as well.
CREATE TEMPORARY TABLE halfway ON COMMIT DROP AS
    SELECT tier_id FROM fpdb.run WHERE merged_to IS NOT NULL;
INSERT INTO fpdb.delta (asset_id, profile_id, hash, frame)
SELECT b.asset_id, t.profile_id,
    ((((p.key::bigint << r.residual_bits) | (e.entry >> (r.block_bits + 14))) * 11764425) & 16777215)::int,
    b.first_frame + (e.entry & 16383)
FROM halfway h
JOIN fpdb.tier t USING (tier_id)
JOIN fpdb.run r USING (tier_id)
JOIN fpdb.posting p ON p.run_id = r.run_id
CROSS JOIN LATERAL unnest(p.entries) AS e (entry)
JOIN fpdb.block b ON b.tier_id = r.tier_id
    AND b.block = r.first_block + ((e.entry >> 14) & ((1 << r.block_bits) - 1));
DELETE FROM fpdb.posting p USING fpdb.run r, halfway h WHERE r.run_id = p.run_id AND r.tier_id = h.tier_id;
DELETE FROM fpdb.block b USING halfway h WHERE b.tier_id = h.tier_id;
DELETE FROM fpdb.run r USING halfway h WHERE r.tier_id = h.tier_id;

-- Numbers and keys change places: first to where none was, then to where they belong.
UPDATE fpdb.block b SET tier_id = -r.run_id, block = b.block - r.first_block
FROM fpdb.run r WHERE r.tier_id = b.tier_id;
UPDATE fpdb.block SET tier_id = -tier_id;
ALTER TABLE fpdb.block RENAME COLUMN tier_id TO run_id;
COMMENT ON COLUMN fpdb.block.run_id IS 'The run that holds its entries.';
COMMENT ON COLUMN fpdb.block.block IS 'Number within the run, from 0; an asset''s follow one another.';
ALTER TABLE fpdb.run
    ADD COLUMN profile_id smallint REFERENCES fpdb.profile,
    ADD COLUMN assets int;
UPDATE fpdb.run r SET profile_id = t.profile_id, assets = t.assets FROM fpdb.tier t WHERE t.tier_id = r.tier_id;
ALTER TABLE fpdb.run
    ALTER COLUMN profile_id SET NOT NULL,
    ALTER COLUMN assets SET NOT NULL,
    DROP COLUMN tier_id,
    DROP COLUMN first_block,
    DROP COLUMN merged_to;
COMMENT ON TABLE fpdb.run IS
    'Packed indexes: written once by fpdb.compact(), never changed, replaced when merged.';
COMMENT ON COLUMN fpdb.run.profile_id IS 'The profile of all its landmarks.';
COMMENT ON COLUMN fpdb.run.assets IS 'Assets that it was made with.';
COMMENT ON COLUMN fpdb.run.blocks IS 'Blocks that it was made with; fpdb.block holds those that still live.';
DROP TABLE fpdb.tier;
ALTER TABLE fpdb.posting RESET (autovacuum_vacuum_scale_factor);
"""


def upgrade() -> None:
    run_script(op.get_bind(), UPGRADE)


def downgrade() -> None:
    run_script(op.get_bind(), DOWNGRADE)
