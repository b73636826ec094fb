-- What it answers: how far the work is, what failed and why, and the extractor's output.
-- Who calls it: people, `fpdb status`, monitoring.
-- What must be true: counts are exact; every column of the extractor's contract keeps its name.

CREATE OR REPLACE VIEW fpdb.audio_fingerprint_extractor_v1 AS
    SELECT e.embedding AS audio_fingerprint_extractor_v1_embedding,
        s.segment_index, s.start_time_sec, s.end_time_sec, s.duration_sec,
        a.duration_sec AS total_duration_sec, a.sample_rate, a.audio_source_type,
        m.name AS embedding_model, e.processing_time_ms
    FROM fpdb.segment s
    JOIN fpdb.asset a ON a.asset_id = s.asset_id
    LEFT JOIN fpdb.embedding e ON e.segment_id = s.segment_id AND e.model_id = fpdb.active_model()
    LEFT JOIN fpdb.model m ON m.model_id = e.model_id;
COMMENT ON VIEW fpdb.audio_fingerprint_extractor_v1 IS 'A row a segment, with the field names of the extractor''s output schema.';
COMMENT ON COLUMN fpdb.audio_fingerprint_extractor_v1.audio_fingerprint_extractor_v1_embedding IS 'Vector of the active model; NULL for a silent segment.';
COMMENT ON COLUMN fpdb.audio_fingerprint_extractor_v1.segment_index IS 'Place in the asset, from 0.';
COMMENT ON COLUMN fpdb.audio_fingerprint_extractor_v1.start_time_sec IS 'Seconds from the start of the recording.';
COMMENT ON COLUMN fpdb.audio_fingerprint_extractor_v1.end_time_sec IS 'Seconds from the start of the recording.';
COMMENT ON COLUMN fpdb.audio_fingerprint_extractor_v1.duration_sec IS 'Seconds of audio in the segment.';
COMMENT ON COLUMN fpdb.audio_fingerprint_extractor_v1.total_duration_sec IS 'Seconds of the whole recording.';
COMMENT ON COLUMN fpdb.audio_fingerprint_extractor_v1.sample_rate IS 'Hertz that the segments are heard at.';
COMMENT ON COLUMN fpdb.audio_fingerprint_extractor_v1.audio_source_type IS 'audio or video.';
COMMENT ON COLUMN fpdb.audio_fingerprint_extractor_v1.embedding_model IS 'Name of the active model.';
COMMENT ON COLUMN fpdb.audio_fingerprint_extractor_v1.processing_time_ms IS 'Milliseconds that the model took.';

CREATE OR REPLACE VIEW fpdb.asset_status AS
    SELECT status, count(*) AS assets, min(created_at) AS oldest,
        max(error) FILTER (WHERE status = 'failed') AS an_error
    FROM fpdb.asset GROUP BY status;
COMMENT ON VIEW fpdb.asset_status IS 'Assets by status.';
COMMENT ON COLUMN fpdb.asset_status.status IS 'queued, processing, ready or failed.';
COMMENT ON COLUMN fpdb.asset_status.assets IS 'How many, exactly.';
COMMENT ON COLUMN fpdb.asset_status.oldest IS 'When the oldest of them was inserted.';
COMMENT ON COLUMN fpdb.asset_status.an_error IS 'One of the reasons, where some failed.';

CREATE OR REPLACE VIEW fpdb.profile_status AS
    SELECT p.profile_id, p.name, p.digest, p.state, coalesce(h.ready, 0) AS assets,
        coalesce(h.ready, 0)::float8 / nullif(a.assets, 0) AS share,
        CASE WHEN p.is_active THEN a.failed ELSE coalesce(h.failed, 0) END AS failed,
        CASE WHEN p.is_active THEN a.error ELSE h.error END AS an_error
    FROM fpdb.profile p
    CROSS JOIN (
        SELECT count(*) AS assets, count(*) FILTER (WHERE landmark_status = 'failed') AS failed,
            max(landmark_error) FILTER (WHERE landmark_status = 'failed') AS error
        FROM fpdb.asset
    ) a
    LEFT JOIN (
        SELECT h.profile_id, count(h.error) AS failed, max(h.error) AS error,
            count(*) FILTER (WHERE h.landmark_count IS NOT NULL AND h.revision = o.landmark_revision) AS ready
        FROM fpdb.asset_profile h JOIN fpdb.asset o USING (asset_id) GROUP BY h.profile_id
    ) h USING (profile_id);
COMMENT ON VIEW fpdb.profile_status IS 'Landmark profiles: which is searched, and how far each is.';
COMMENT ON COLUMN fpdb.profile_status.profile_id IS 'Key.';
COMMENT ON COLUMN fpdb.profile_status.name IS 'What people call it.';
COMMENT ON COLUMN fpdb.profile_status.digest IS 'Of its parameters; what functions take.';
COMMENT ON COLUMN fpdb.profile_status.state IS 'active, building or retired.';
COMMENT ON COLUMN fpdb.profile_status.assets IS 'Assets that have its landmarks, of their present revision.';
COMMENT ON COLUMN fpdb.profile_status.share IS 'That, of all assets (0 to 1); NULL where there are none.';
COMMENT ON COLUMN fpdb.profile_status.failed IS 'Assets that could not be fingerprinted with it.';
COMMENT ON COLUMN fpdb.profile_status.an_error IS 'One of the reasons, where some failed.';

CREATE OR REPLACE VIEW fpdb.model_status AS
    SELECT m.model_id, m.name, m.revision, m.state, m.dims, m.index_type,
        to_regclass('fpdb.embedding_' || m.model_id || '_hnsw_idx') IS NOT NULL AS is_indexed,
        coalesce(h.ready, 0) AS assets,
        coalesce(h.ready, 0)::float8 / nullif(a.assets, 0) AS share,
        coalesce(h.vectors, 0) AS vectors,
        CASE WHEN m.state = 'active' THEN a.failed ELSE coalesce(h.failed, 0) END AS failed,
        CASE WHEN m.state = 'active' THEN a.error ELSE h.error END AS an_error,
        w.weights
    FROM fpdb.model m
    CROSS JOIN (
        SELECT count(*) AS assets, count(*) FILTER (WHERE embedding_status = 'failed') AS failed,
            max(embedding_error) FILTER (WHERE embedding_status = 'failed') AS error
        FROM fpdb.asset
    ) a
    LEFT JOIN (
        SELECT h.model_id, count(h.error) AS failed, max(h.error) AS error, sum(h.vectors) AS vectors,
            count(*) FILTER (WHERE h.vectors IS NOT NULL AND h.revision = o.embedding_revision) AS ready
        FROM fpdb.asset_model h JOIN fpdb.asset o USING (asset_id) GROUP BY h.model_id
    ) h USING (model_id)
    LEFT JOIN (
        SELECT w.model_id, jsonb_object_agg(w.content_type, w.weight) AS weights
        FROM fpdb.model_weight w GROUP BY w.model_id
    ) w USING (model_id);
COMMENT ON VIEW fpdb.model_status IS 'Embedding models: which is searched, and how far each is.';
COMMENT ON COLUMN fpdb.model_status.model_id IS 'Key; what functions take.';
COMMENT ON COLUMN fpdb.model_status.name IS 'Checkpoint name or folder, or builtin.';
COMMENT ON COLUMN fpdb.model_status.revision IS 'Which weights.';
COMMENT ON COLUMN fpdb.model_status.state IS 'active, shadow or retired.';
COMMENT ON COLUMN fpdb.model_status.dims IS 'Dimensions of a vector.';
COMMENT ON COLUMN fpdb.model_status.index_type IS 'What its index holds: vector or halfvec.';
COMMENT ON COLUMN fpdb.model_status.is_indexed IS 'Whether its HNSW index is there; fpdb.index_model builds it.';
COMMENT ON COLUMN fpdb.model_status.assets IS 'Assets that have its vectors, of their present revision.';
COMMENT ON COLUMN fpdb.model_status.share IS 'That, of all assets (0 to 1); NULL where there are none.';
COMMENT ON COLUMN fpdb.model_status.vectors IS 'Vectors stored.';
COMMENT ON COLUMN fpdb.model_status.failed IS 'Assets that could not be embedded with it.';
COMMENT ON COLUMN fpdb.model_status.an_error IS 'One of the reasons, where some failed.';
COMMENT ON COLUMN fpdb.model_status.weights IS 'What fpdb.model_weight says of it, by content type.';

CREATE OR REPLACE VIEW fpdb.job_status AS
    SELECT j.queue_name AS queue, j.status::text AS status, count(*) AS jobs,
        extract(epoch FROM now() - min(e.at))::float8 AS oldest_age_sec
    FROM fpdb_queue.procrastinate_jobs j
    LEFT JOIN LATERAL (
        SELECT min(at) AS at FROM fpdb_queue.procrastinate_events e
        WHERE e.job_id = j.id AND e.type = 'deferred'
    ) e ON true
    GROUP BY j.queue_name, j.status;
COMMENT ON VIEW fpdb.job_status IS 'Jobs by queue (landmark, embedding, query) and state; the age of the oldest todo job is the lag.';
COMMENT ON COLUMN fpdb.job_status.queue IS 'landmark, embedding or query.';
COMMENT ON COLUMN fpdb.job_status.status IS 'todo, doing, succeeded, failed, cancelled or aborted.';
COMMENT ON COLUMN fpdb.job_status.jobs IS 'How many, exactly.';
COMMENT ON COLUMN fpdb.job_status.oldest_age_sec IS 'Seconds since the oldest of them was queued.';

CREATE OR REPLACE VIEW fpdb.worker_status AS
    SELECT w.id AS worker_id, extract(epoch FROM now() - w.last_heartbeat)::float8 AS heartbeat_age_sec,
        count(j.id) AS jobs
    FROM fpdb_queue.procrastinate_workers w
    LEFT JOIN fpdb_queue.procrastinate_jobs j ON j.worker_id = w.id AND j.status = 'doing'
    GROUP BY w.id;
COMMENT ON VIEW fpdb.worker_status IS 'Workers that have signed in, with their last sign of life.';
COMMENT ON COLUMN fpdb.worker_status.worker_id IS 'Key.';
COMMENT ON COLUMN fpdb.worker_status.heartbeat_age_sec IS 'Seconds since the last sign of life.';
COMMENT ON COLUMN fpdb.worker_status.jobs IS 'Jobs it is doing.';

CREATE OR REPLACE FUNCTION fpdb.live_workers() RETURNS int
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT count(*)::int FROM fpdb.worker_status WHERE heartbeat_age_sec < 60
$$;
COMMENT ON FUNCTION fpdb.live_workers() IS 'How many workers have given a sign of life within the last minute.';

CREATE OR REPLACE VIEW fpdb.index_status AS
    SELECT r.runs, b.blocks, b.postings, d.delta_rows, s.bytes,
        s.bytes::float8 / nullif(b.postings + d.delta_rows, 0) AS bytes_per_posting,
        1 - b.postings::float8 / nullif(r.postings, 0) AS dead_share,
        CASE WHEN b.postings > r.postings THEN 'SELECT * FROM fpdb.check_index()'
            WHEN fpdb.compaction_is_due() THEN 'SELECT fpdb.compact()' ELSE 'nothing to do' END AS advice
    FROM (SELECT count(*) AS runs, coalesce(sum(postings), 0)::bigint AS postings FROM fpdb.run) r,
        (SELECT count(*) AS blocks, coalesce(sum(postings), 0)::bigint AS postings FROM fpdb.block) b,
        (SELECT count(*) AS delta_rows FROM fpdb.delta) d,
        (SELECT sum(pg_total_relation_size(c.oid))::bigint AS bytes FROM unnest(ARRAY['fpdb.tier', 'fpdb.run', 'fpdb.block',
            'fpdb.posting', 'fpdb.delta']::regclass[]) AS c (oid)) s;
COMMENT ON VIEW fpdb.index_status IS 'How the landmarks are stored, and whether fpdb.compact() would help.';
COMMENT ON COLUMN fpdb.index_status.runs IS 'Packed indexes; a query looks into each.';
COMMENT ON COLUMN fpdb.index_status.blocks IS 'Stretches of 16,384 frames of assets that are packed.';
COMMENT ON COLUMN fpdb.index_status.postings IS 'Packed landmarks, without dead ones.';
COMMENT ON COLUMN fpdb.index_status.delta_rows IS 'Landmarks that wait to be packed; they are found like the others.';
COMMENT ON COLUMN fpdb.index_status.bytes IS 'On disk, with all indexes and space to be used again.';
COMMENT ON COLUMN fpdb.index_status.bytes_per_posting IS 'Bytes for each landmark, packed or waiting.';
COMMENT ON COLUMN fpdb.index_status.dead_share IS
    'Share (0 to 1) of packed landmarks whose asset is gone; from 0.3 of a run on, fpdb.compact() writes it again.';
COMMENT ON COLUMN fpdb.index_status.advice IS 'What to do, if anything.';
