"""The tables, described once for SQLAlchemy; `alembic check` proves it equals the migrations."""

from typing import Any

from pgvector.sqlalchemy import Vector
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, BIT, JSONB, REAL
from sqlalchemy.dialects.postgresql.base import ischema_names

from fingerprintdb.store.database import SCHEMA

metadata = MetaData(schema=SCHEMA)

# Where pgvector lives in our schema, reflection meets its type under its qualified name.
ischema_names[f"{SCHEMA}.vector"] = Vector


def _timestamp(name: str, *, required: bool) -> Column[Any]:
    default = func.now() if required else None
    return Column(name, DateTime(timezone=True), nullable=not required, server_default=default)


api_key = Table(
    "api_key",
    metadata,
    Column("key_id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column(
        "collection",
        Text,
        ForeignKey("fpdb.collection.name", onupdate="CASCADE", ondelete="CASCADE"),
    ),
    Column("may_write", Boolean, nullable=False, server_default=text("false")),
    _timestamp("created_at", required=True),
    _timestamp("revoked_at", required=False),
    Index("api_key_collection_idx", "collection"),
    Index("api_key_name_idx", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
)

content_type = Table(
    "content_type",
    metadata,
    Column("name", Text, primary_key=True),
    Column("landmark_threshold", Float(53), nullable=False, server_default="0.75"),
    Column("vector_threshold", Float(53), nullable=False, server_default="0.75"),
    Column("match_threshold", Float(53), nullable=False, server_default="0.95"),
    Column("calibration", Text),
)

collection = Table(
    "collection",
    metadata,
    Column("name", Text, primary_key=True),
    Column("description", Text),
    _timestamp("created_at", required=True),
)

profile = Table(
    "profile",
    metadata,
    Column("profile_id", SmallInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),
    Column("parameters", JSONB, nullable=False),
    _timestamp("created_at", required=True),
    Column("state", Text, nullable=False, server_default="retired"),
    Column("is_active", Boolean, Computed("state = 'active'", persisted=True), nullable=False),
    Index("profile_active_idx", "is_active", unique=True, postgresql_where=text("is_active")),
)

model = Table(
    "model",
    metadata,
    Column("model_id", SmallInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("dims", Integer, nullable=False),
    Column("sample_rate", Integer, nullable=False),
    Column("state", Text, nullable=False, server_default="retired"),
    Column("confidence_intercept", Float(53)),
    Column("confidence_slope", Float(53)),
    _timestamp("created_at", required=True),
    Column("index_type", Text, nullable=False, server_default="vector"),
    UniqueConstraint("name", "revision"),
    Index("model_active_idx", "state", unique=True, postgresql_where=text("state = 'active'")),
)

asset = Table(
    "asset",
    metadata,
    Column("asset_id", BigInteger, Identity(always=False), primary_key=True),
    Column("uri", Text),
    Column("content", LargeBinary),
    Column(
        "collection",
        Text,
        ForeignKey("fpdb.collection.name", onupdate="CASCADE"),
        nullable=False,
        server_default="default",
    ),
    Column(
        "content_type",
        Text,
        ForeignKey("fpdb.content_type.name", onupdate="CASCADE"),
        nullable=False,
        server_default="music",
    ),
    Column("title", Text),
    Column("artist", Text),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'")),
    Column("version_of", BigInteger, ForeignKey("fpdb.asset.asset_id", ondelete="SET NULL")),
    Column("pitch", Float(53), nullable=False, server_default="1"),
    Column("tempo", Float(53), nullable=False, server_default="1"),
    Column("segment_duration_sec", Float(53), nullable=False, server_default="5.0"),
    Column("segment_hop_sec", Float(53), nullable=False, server_default="2.5"),
    Column("sample_rate", Integer, nullable=False, server_default="48000"),
    Column("normalize_embeddings", Boolean, nullable=False, server_default=text("true")),
    Column("max_audio_length_sec", Float(53), server_default="120.0"),
    _timestamp("created_at", required=True),
    Column("sha256", Text),
    Column("audio_source_type", Text),
    Column("duration_sec", Float(53)),
    Column("source_sample_rate", Integer),
    Column("profile_id", SmallInteger, ForeignKey("fpdb.profile.profile_id")),
    Column("landmark_count", Integer),
    Column("landmark_revision", Integer, nullable=False, server_default="1"),
    Column("landmark_status", Text, nullable=False, server_default="queued"),
    Column("landmark_error", Text),
    Column("embedding_revision", Integer, nullable=False, server_default="1"),
    Column("embedding_status", Text, nullable=False, server_default="queued"),
    Column("embedding_error", Text),
    _timestamp("processed_at", required=False),
    Column(
        "status",
        Text,
        Computed(
            "CASE WHEN 'failed' IN (landmark_status, embedding_status) THEN 'failed'"
            " WHEN landmark_status = 'ready' AND embedding_status = 'ready' THEN 'ready'"
            " WHEN landmark_status = 'queued' AND embedding_status = 'queued' THEN 'queued'"
            " ELSE 'processing' END",
            persisted=True,
        ),
        nullable=False,
    ),
    Column("error", Text, Computed("coalesce(landmark_error, embedding_error)", persisted=True)),
    Column("normalize_loudness", Boolean, nullable=False, server_default=text("true")),
    Column("separator", Text),
    Index("asset_collection_sha256_idx", "collection", "sha256"),
    Index("asset_uri_idx", "uri", postgresql_using="hash"),
    Index("asset_status_idx", "status", postgresql_where=text("status <> 'ready'")),
    Index("asset_version_of_idx", "version_of", postgresql_where=text("version_of IS NOT NULL")),
    Index(
        "asset_metadata_idx",
        "metadata",
        postgresql_using="gin",
        postgresql_ops={"metadata": "jsonb_path_ops"},
    ),
)

asset_profile = Table(
    "asset_profile",
    metadata,
    Column(
        "asset_id",
        BigInteger,
        ForeignKey("fpdb.asset.asset_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column(
        "profile_id",
        SmallInteger,
        ForeignKey("fpdb.profile.profile_id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("revision", Integer, nullable=False),
    Column("landmark_count", Integer),
    Column("error", Text),
)

asset_model = Table(
    "asset_model",
    metadata,
    Column(
        "asset_id",
        BigInteger,
        ForeignKey("fpdb.asset.asset_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column(
        "model_id",
        SmallInteger,
        ForeignKey("fpdb.model.model_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("revision", Integer, nullable=False),
    Column("vectors", Integer),
    Column("error", Text),
)

model_weight = Table(
    "model_weight",
    metadata,
    Column(
        "content_type",
        Text,
        ForeignKey("fpdb.content_type.name", onupdate="CASCADE", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column(
        "model_id",
        SmallInteger,
        ForeignKey("fpdb.model.model_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("weight", Float(53), nullable=False),
)

delta = Table(
    "delta",
    metadata,
    Column("asset_id", BigInteger, nullable=False),
    Column("hash", Integer, nullable=False),
    Column("frame", Integer, nullable=False),
    Column("profile_id", SmallInteger, nullable=False),
    Index("delta_hash_idx", "profile_id", "hash"),
    Index("delta_asset_id_idx", "asset_id", "profile_id"),
)

tier = Table(
    "tier",
    metadata,
    Column("tier_id", Integer, Identity(always=True), primary_key=True),
    Column("profile_id", SmallInteger, ForeignKey("fpdb.profile.profile_id"), nullable=False),
    Column("assets", Integer, nullable=False),
    Column("blocks", Integer, nullable=False),
    _timestamp("created_at", required=True),
)

run = Table(
    "run",
    metadata,
    Column("run_id", Integer, Identity(always=True), primary_key=True),
    Column("tier_id", Integer, ForeignKey("fpdb.tier.tier_id"), nullable=False),
    Column("first_block", Integer, nullable=False),
    Column("blocks", Integer, nullable=False),
    Column("block_bits", SmallInteger, nullable=False),
    Column("residual_bits", SmallInteger, nullable=False),
    Column("postings", BigInteger, nullable=False),
    Column("merged_to", Integer),
    _timestamp("created_at", required=True),
)

block = Table(
    "block",
    metadata,
    Column("tier_id", Integer, primary_key=True, autoincrement=False),
    Column("block", Integer, primary_key=True, autoincrement=False),
    Column(
        "asset_id",
        BigInteger,
        ForeignKey("fpdb.asset.asset_id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("first_frame", Integer, nullable=False),
    Column("postings", Integer, nullable=False),
    Index("block_asset_id_idx", "asset_id"),
)

posting = Table(
    "posting",
    metadata,
    Column("run_id", Integer, primary_key=True, autoincrement=False),
    Column("key", Integer, primary_key=True, autoincrement=False),
    Column("entries", ARRAY(Integer), nullable=False),
)

segment = Table(
    "segment",
    metadata,
    Column("segment_id", BigInteger, Identity(always=True), primary_key=True),
    Column(
        "asset_id",
        BigInteger,
        ForeignKey("fpdb.asset.asset_id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("segment_index", Integer, nullable=False),
    Column("start_time_sec", Float(53), nullable=False),
    Column("end_time_sec", Float(53), nullable=False),
    Column(
        "duration_sec",
        Float(53),
        Computed("end_time_sec - start_time_sec", persisted=True),
        nullable=False,
    ),
    Column("is_silent", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint("asset_id", "segment_index"),
)

embedding = Table(
    "embedding",
    metadata,
    Column("model_id", SmallInteger, primary_key=True, autoincrement=False),
    Column("segment_id", BigInteger, primary_key=True, autoincrement=False),
    Column(
        "asset_id",
        BigInteger,
        ForeignKey("fpdb.asset.asset_id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("embedding", Vector(), nullable=False),
    Column("processing_time_ms", REAL, nullable=False),
    Index("embedding_asset_id_idx", "asset_id"),
    postgresql_partition_by="LIST (model_id)",
)

decision = Table(
    "decision",
    metadata,
    Column("term", Text, primary_key=True),
    Column("coefficient", Float(53), nullable=False),
    Column("description", Text, nullable=False),
)

sub_fingerprint = Table(
    "sub_fingerprint",
    metadata,
    Column(
        "asset_id",
        BigInteger,
        ForeignKey("fpdb.asset.asset_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("bits", BIT(varying=True), nullable=False),
    Column("profile_id", SmallInteger, primary_key=True, autoincrement=False),
)

feedback = Table(
    "feedback",
    metadata,
    Column("feedback_id", BigInteger, Identity(always=True), primary_key=True),
    Column("query_id", BigInteger, ForeignKey("fpdb.query.query_id", ondelete="SET NULL")),
    Column("asset_id", BigInteger, ForeignKey("fpdb.asset.asset_id", ondelete="CASCADE")),
    Column("confidence", Float(53), nullable=False),
    Column("is_right", Boolean, nullable=False),
    Column("note", Text),
    _timestamp("created_at", required=True),
    Index("feedback_asset_id_idx", "asset_id"),
    Index("feedback_query_id_idx", "query_id"),
)

query = Table(
    "query",
    metadata,
    Column("query_id", BigInteger, Identity(always=True), primary_key=True),
    Column("uri", Text),
    Column("content", LargeBinary),
    Column("collection", Text),
    Column("content_type", Text),
    Column("metadata", JSONB),
    Column("k", Integer, nullable=False, server_default="10"),
    _timestamp("created_at", required=True),
    Column("status", Text, nullable=False, server_default="queued"),
    Column("error", Text),
    Column("found", Boolean),
    Column("processing_time_ms", Float(53)),
    _timestamp("finished_at", required=False),
    Column("verdict", Text),
    Column("text", Text),
    Column("min_duration_sec", Float(53)),
    Column("max_duration_sec", Float(53)),
)

query_moment = Table(
    "query_moment",
    metadata,
    Column(
        "query_id",
        BigInteger,
        ForeignKey("fpdb.query.query_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("rank", Integer, primary_key=True, autoincrement=False),
    Column(
        "asset_id",
        BigInteger,
        ForeignKey("fpdb.asset.asset_id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("start_sec", Float(53), nullable=False),
    Column("end_sec", Float(53), nullable=False),
    Column("similarity", Float(53), nullable=False),
    Index("query_moment_asset_id_idx", "asset_id"),
)

query_match = Table(
    "query_match",
    metadata,
    Column(
        "query_id",
        BigInteger,
        ForeignKey("fpdb.query.query_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("rank", Integer, primary_key=True, autoincrement=False),
    Column(
        "asset_id",
        BigInteger,
        ForeignKey("fpdb.asset.asset_id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("confidence", Float(53), nullable=False),
    Column("score", Float(53), nullable=False),
    Column("offset_sec", Float(53), nullable=False),
    Column("query_start_sec", Float(53), nullable=False),
    Column("query_end_sec", Float(53), nullable=False),
    Column("reference_start_sec", Float(53), nullable=False),
    Column("reference_end_sec", Float(53), nullable=False),
    Column("evidence", JSONB, nullable=False),
    Index("query_match_asset_id_idx", "asset_id"),
)


def is_ours(name: str | None, kind: str, parents: Any) -> bool:
    """Tell alembic which schemas and tables to compare: a model's partition is data."""
    if kind == "schema":
        return name == SCHEMA
    if kind == "table":
        return bool(parents["schema_qualified_table_name"] in metadata.tables)
    return True
