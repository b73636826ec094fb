"""A packed inverted index of landmarks; the row-per-hash table becomes its delta."""

from alembic import op
from fingerprintdb.store.migration import run_script

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Other arguments or other columns make another function; sql/ declares the new ones.
UPGRADE = """
DROP FUNCTION IF EXISTS fpdb.match_landmarks(int[], int[], text, int, float8, text, text, jsonb, bigint);
DROP FUNCTION IF EXISTS fpdb.landmark_alignments(int[], int[], text, text, jsonb, bigint);
DROP FUNCTION IF EXISTS fpdb.landmark_votes(int[], int[]);

ALTER TABLE fpdb.posting RENAME TO delta;
ALTER INDEX fpdb.posting_hash_idx RENAME TO delta_hash_idx;
ALTER INDEX fpdb.posting_asset_id_idx RENAME TO delta_asset_id_idx;
ALTER TABLE fpdb.delta ADD CONSTRAINT delta_hash_has_24_bits CHECK (hash BETWEEN 0 AND 16777215);
COMMENT ON TABLE fpdb.delta IS
    'The newest landmarks, a row each, searched from the moment they commit; fpdb.compact() packs them. Read all through fpdb.landmark.';
COMMENT ON COLUMN fpdb.delta.asset_id IS
    'The asset; its rows leave with it (by trigger, as a foreign key would cost a check a row).';
COMMENT ON COLUMN fpdb.delta.hash IS 'The packed landmark, 24 bits.';
COMMENT ON COLUMN fpdb.delta.frame IS 'Frame of the anchor.';

CREATE TABLE fpdb.run (
    run_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    profile_id smallint NOT NULL REFERENCES fpdb.profile,
    block_bits smallint NOT NULL,
    residual_bits smallint NOT NULL,
    assets int NOT NULL,
    blocks int NOT NULL,
    postings bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT run_entry_fits_int4 CHECK (
        block_bits >= 0 AND residual_bits BETWEEN 0 AND 24 AND residual_bits + block_bits + 14 <= 31)
);
COMMENT ON TABLE fpdb.run IS
    'Packed indexes: written once by fpdb.compact(), never changed, replaced when merged.';
COMMENT ON COLUMN fpdb.run.run_id IS 'Key.';
COMMENT ON COLUMN fpdb.run.profile_id IS 'The profile of all its landmarks.';
COMMENT ON COLUMN fpdb.run.block_bits IS 'Bits of a block''s number in an entry.';
COMMENT ON COLUMN fpdb.run.residual_bits IS
    'Low bits of the mixed hash that stand in the entry; the other 24 - residual_bits are the key.';
COMMENT ON COLUMN fpdb.run.assets IS 'Assets that it was made with.';
COMMENT ON COLUMN fpdb.run.blocks IS 'Blocks that it was made with; fpdb.block holds those that still live.';
COMMENT ON COLUMN fpdb.run.postings IS 'Entries, those of dead blocks included.';
COMMENT ON COLUMN fpdb.run.created_at IS 'When it was made.';

CREATE TABLE fpdb.block (
    run_id int NOT NULL,
    block int NOT NULL,
    asset_id bigint NOT NULL REFERENCES fpdb.asset ON DELETE CASCADE,
    first_frame int NOT NULL,
    postings int NOT NULL,
    PRIMARY KEY (run_id, block)
);
CREATE INDEX block_asset_id_idx ON fpdb.block (asset_id);
COMMENT ON TABLE fpdb.block IS
    'Stretches of 16,384 frames of an asset; entries of a block without a row are dead.';
COMMENT ON COLUMN fpdb.block.run_id IS 'The run that holds its entries.';
COMMENT ON COLUMN fpdb.block.block IS 'Number within the run, from 0; an asset''s follow one another.';
COMMENT ON COLUMN fpdb.block.asset_id IS 'The asset.';
COMMENT ON COLUMN fpdb.block.first_frame IS 'The asset''s frame that is frame 0 of the block.';
COMMENT ON COLUMN fpdb.block.postings IS 'Entries of the block.';

CREATE TABLE fpdb.posting (
    run_id int NOT NULL,
    key int NOT NULL,
    entries int[] NOT NULL,
    PRIMARY KEY (run_id, key)
) WITH (toast_tuple_target = 8160);
-- Compressed integers hardly shrink and are dear to read; what fits a page stays in the row.
ALTER TABLE fpdb.posting ALTER COLUMN entries SET STORAGE EXTERNAL;
COMMENT ON TABLE fpdb.posting IS 'Where hashes occur, packed; read it through fpdb.landmark.';
COMMENT ON COLUMN fpdb.posting.run_id IS 'The run.';
COMMENT ON COLUMN fpdb.posting.key IS 'The high bits of the mixed hash.';
COMMENT ON COLUMN fpdb.posting.entries IS
    'Ascending: low bits of the mixed hash << (block_bits + 14) | block << 14 | frame within the block.';
"""

# 11764425 is the inverse, modulo 2^24, of the multiplier that fpdb.compact() mixes hashes with.
DOWNGRADE = """
DROP VIEW IF EXISTS fpdb.landmark, fpdb.index_status;
DROP FUNCTION IF EXISTS fpdb.match_landmarks(int[], int[], text, int, float8, text, text, jsonb, bigint, int);
DROP FUNCTION IF EXISTS fpdb.landmark_alignments(int[], int[], text, text, jsonb, bigint, int, int);
DROP FUNCTION IF EXISTS fpdb.landmark_votes(int[], int[], text, text, jsonb, bigint, bigint, int);
DROP FUNCTION IF EXISTS fpdb.asset_landmarks(bigint, bigint);
DROP FUNCTION IF EXISTS fpdb.compact(bigint);

INSERT INTO fpdb.delta (asset_id, hash, frame)
SELECT b.asset_id,
    ((((p.key::bigint << r.residual_bits) | (e.entry >> (r.block_bits + 14))) * 11764425) & 16777215)::int,
    b.first_frame + (e.entry & 16383)
FROM fpdb.run r
JOIN fpdb.posting p ON p.run_id = r.run_id
CROSS JOIN LATERAL unnest(p.entries) AS e (entry)
JOIN fpdb.block b ON b.run_id = r.run_id AND b.block = (e.entry >> 14) & ((1 << r.block_bits) - 1);
DROP TABLE fpdb.posting, fpdb.block, fpdb.run;

ALTER TABLE fpdb.delta DROP CONSTRAINT delta_hash_has_24_bits;
ALTER TABLE fpdb.delta RENAME TO posting;
ALTER INDEX fpdb.delta_hash_idx RENAME TO posting_hash_idx;
ALTER INDEX fpdb.delta_asset_id_idx RENAME TO posting_asset_id_idx;
COMMENT ON TABLE fpdb.posting IS 'Where a landmark''s hash occurs; read it through fpdb.landmark.';
COMMENT ON COLUMN fpdb.posting.hash IS 'The packed landmark.';
"""


def upgrade() -> None:
    run_script(op.get_bind(), UPGRADE)


def downgrade() -> None:
    run_script(op.get_bind(), DOWNGRADE)
