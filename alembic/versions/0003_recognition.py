"""Sub-fingerprints, the decision over them, and people's verdicts."""

from alembic import op
from fingerprintdb.store.migration import run_script

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Other arguments or other columns make another function; sql/ declares the new ones.
UPGRADE = """
DROP FUNCTION IF EXISTS fpdb.match(int[], int[], @extschema:vector@.vector[], float8[], text, smallint, int, float8, text, text, jsonb, bigint);
DROP FUNCTION IF EXISTS fpdb.match_asset(bigint, int, float8, text, text, jsonb);
DROP FUNCTION IF EXISTS fpdb.landmark_confidence(float8, float8);

CREATE TABLE fpdb.sub_fingerprint (
    asset_id bigint NOT NULL REFERENCES fpdb.asset ON DELETE CASCADE,
    part int NOT NULL,
    bits bit varying NOT NULL,
    PRIMARY KEY (asset_id, part)
);
ALTER TABLE fpdb.sub_fingerprint ALTER COLUMN bits SET STORAGE EXTERNAL;
COMMENT ON TABLE fpdb.sub_fingerprint IS
    'Dense bits of the assets, which verify what landmarks propose; how many in how much time, the profile says.';
COMMENT ON COLUMN fpdb.sub_fingerprint.asset_id IS 'The asset.';
COMMENT ON COLUMN fpdb.sub_fingerprint.part IS 'Place of the row in the asset, from 0.';
COMMENT ON COLUMN fpdb.sub_fingerprint.bits IS 'Sub-fingerprints end to end: fpdb.bits_a_row() bits, fewer in an asset''s last row.';

UPDATE fpdb.decision SET term = 'landmark_intercept' WHERE term = 'intercept';
UPDATE fpdb.decision SET term = 'landmark_excess' WHERE term = 'excess';
INSERT INTO fpdb.decision VALUES
    ('bit_spread', 0.104, 'standard deviation of (1 - 2 * bit error rate) * sqrt(sub-fingerprints) between unrelated recordings'),
    ('bit_likeness', 0.04, 'standard deviation of 1 - 2 * bit error rate between recordings that share a beat, a scale, an orchestra'),
    ('bit_intercept', 2.76, 'always, where bits were compared'),
    ('bit_agreement', 1.98, 'agreement of bits beyond the most that chance gives, in deviations'),
    ('bit_landmarks', 0.68, 'where bits were compared: 2 (sqrt(aligned landmarks) - sqrt(the most that chance gives)), between -4 and 8');
COMMENT ON TABLE fpdb.decision IS 'Coefficients of the logistic regressions that turn evidence into confidence.';

-- A clip is put to eighteen searches, each of which may err.
ALTER TABLE fpdb.content_type ALTER COLUMN match_threshold SET DEFAULT 0.95;
UPDATE fpdb.content_type SET match_threshold = 0.95 WHERE calibration IS NULL AND match_threshold = 0.75;

CREATE TABLE fpdb.feedback (
    feedback_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    query_id bigint REFERENCES fpdb.query ON DELETE SET NULL,
    asset_id bigint REFERENCES fpdb.asset ON DELETE CASCADE,
    confidence float8 NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    is_right boolean NOT NULL,
    note text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX feedback_asset_id_idx ON fpdb.feedback (asset_id);
CREATE INDEX feedback_query_id_idx ON fpdb.feedback (query_id);
COMMENT ON TABLE fpdb.feedback IS 'What people say of answers: INSERT a verdict, and `fpdb calibrate` counts it.';
COMMENT ON COLUMN fpdb.feedback.feedback_id IS 'Key.';
COMMENT ON COLUMN fpdb.feedback.query_id IS 'The query that was answered, where it is stored.';
COMMENT ON COLUMN fpdb.feedback.asset_id IS 'The asset that was named.';
COMMENT ON COLUMN fpdb.feedback.confidence IS 'The confidence that the answer had.';
COMMENT ON COLUMN fpdb.feedback.is_right IS 'Whether it was that recording.';
COMMENT ON COLUMN fpdb.feedback.note IS 'Whatever the person wants to keep.';
COMMENT ON COLUMN fpdb.feedback.created_at IS 'When it was said.';

ALTER TABLE fpdb.asset
    ADD COLUMN pitch float8 NOT NULL DEFAULT 1,
    ADD COLUMN tempo float8 NOT NULL DEFAULT 1,
    ADD CONSTRAINT asset_is_played_as_a_listener_may CHECK (
        pitch BETWEEN 0.5 AND 2 AND tempo BETWEEN 0.5 AND 2 AND tempo / pitch BETWEEN 0.5 AND 2);
COMMENT ON COLUMN fpdb.asset.pitch IS
    'How many times the recording''s pitch it is fingerprinted at; with tempo alike, a change of speed. Times are as it is played.';
COMMENT ON COLUMN fpdb.asset.tempo IS 'How many times the recording''s tempo it is fingerprinted at.';

ALTER TABLE fpdb.query ADD COLUMN verdict text,
    ADD CONSTRAINT query_verdict_is_known CHECK (verdict IN ('match', 'ambiguous', 'no match'));
COMMENT ON COLUMN fpdb.query.verdict IS
    'match, no match, or ambiguous: several assets hold this very passage; NULL until ready.';
COMMENT ON COLUMN fpdb.query_match.evidence IS
    'Aligned landmarks and what chance gives, bit errors and their rank, the agreement of vectors, tempo and pitch.';
"""

DOWNGRADE = """
ALTER TABLE fpdb.content_type ALTER COLUMN match_threshold SET DEFAULT 0.75;
UPDATE fpdb.content_type SET match_threshold = 0.75 WHERE calibration IS NULL AND match_threshold = 0.95;
ALTER TABLE fpdb.query DROP COLUMN verdict;
-- It names the columns; sql/ of the former release declares its own.
DROP TRIGGER IF EXISTS asset_before_update ON fpdb.asset;
ALTER TABLE fpdb.asset DROP COLUMN pitch, DROP COLUMN tempo;
DROP TABLE fpdb.feedback, fpdb.sub_fingerprint;
DELETE FROM fpdb.decision WHERE term LIKE 'bit_%';
UPDATE fpdb.decision SET term = 'intercept' WHERE term = 'landmark_intercept';
UPDATE fpdb.decision SET term = 'excess' WHERE term = 'landmark_excess';
"""


def upgrade() -> None:
    run_script(op.get_bind(), UPGRADE)


def downgrade() -> None:
    run_script(op.get_bind(), DOWNGRADE)
