"""What the service needs: API keys, and bytes of an asset that can be read from the middle."""

from alembic import op
from fingerprintdb.store.migration import run_script

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE fpdb.api_key (
    key_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CHECK (name <> ''),
    digest bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    collection text REFERENCES fpdb.collection ON UPDATE CASCADE ON DELETE CASCADE,
    may_write boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
CREATE INDEX api_key_collection_idx ON fpdb.api_key (collection);
CREATE UNIQUE INDEX api_key_name_idx ON fpdb.api_key (name) WHERE revoked_at IS NULL;
COMMENT ON TABLE fpdb.api_key IS
    'Who may use the REST API. Once there is a row, revoked or not, every request needs a key.';
COMMENT ON COLUMN fpdb.api_key.key_id IS 'Key of the row, not the secret.';
COMMENT ON COLUMN fpdb.api_key.name IS 'Who has it; one that is not revoked has its name for itself.';
COMMENT ON COLUMN fpdb.api_key.digest IS 'SHA-256 of the secret, which is nowhere stored: 256 random bits need no slow hash.';
COMMENT ON COLUMN fpdb.api_key.collection IS 'The collection it opens; NULL opens all.';
COMMENT ON COLUMN fpdb.api_key.may_write IS 'Whether it may create, change and delete assets, too.';
COMMENT ON COLUMN fpdb.api_key.created_at IS 'When it was made.';
COMMENT ON COLUMN fpdb.api_key.revoked_at IS 'From when on it opens nothing.';

-- Compressed bytes cannot be read from the middle, and sound hardly compresses.
ALTER TABLE fpdb.asset ALTER COLUMN content SET STORAGE EXTERNAL;
"""

DOWNGRADE = """
ALTER TABLE fpdb.asset ALTER COLUMN content SET STORAGE EXTENDED;
DROP TABLE fpdb.api_key;
"""


def upgrade() -> None:
    run_script(op.get_bind(), UPGRADE)


def downgrade() -> None:
    run_script(op.get_bind(), DOWNGRADE)
