-- What it answers: which recording is this, and where in it.
-- Who calls it: `fpdb identify`, workers for fpdb.query, the REST service, people.
-- What must be true: both kinds of evidence speak of (asset, offset), and are joined on it.

CREATE OR REPLACE FUNCTION fpdb.match(
    hashes int[],
    frames int[],
    embeddings vector[] DEFAULT NULL,
    segment_starts float8[] DEFAULT NULL,
    profile text DEFAULT NULL,
    model smallint DEFAULT NULL,
    k int DEFAULT 10,
    min_confidence float8 DEFAULT NULL,
    collection text DEFAULT NULL,
    content_type text DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    exclude_asset bigint DEFAULT NULL
) RETURNS TABLE (
    asset_id bigint, confidence float8, score float8, offset_sec float8,
    query_start_sec float8, query_end_sec float8, reference_start_sec float8, reference_end_sec float8,
    aligned_landmarks int, chance_landmarks float8, aligned_segments int, similarity float8
)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10
SET search_path = pg_catalog, @extschema:vector@, pg_temp
AS $$
    WITH landmark AS (
        SELECT * FROM fpdb.match_landmarks(hashes, frames, profile, 50, 0, match.collection, match.content_type,
            match.metadata, exclude_asset)
    ),
    vector AS (
        SELECT * FROM fpdb.match_vectors(coalesce(embeddings, '{}'), coalesce(segment_starts, '{}'), model, 50, 0,
            match.collection, match.content_type, match.metadata, exclude_asset)
    ),
    -- Two witnesses of one place: the alignment is false only if both err (noisy-or).
    both_kinds AS (
        SELECT coalesce(l.asset_id, v.asset_id) AS asset_id,
            1 - (1 - coalesce(l.confidence, 0)) * (1 - coalesce(v.confidence, 0)) AS confidence,
            coalesce(l.score, 0) + coalesce(v.score, 0) AS score,
            coalesce(l.offset_sec, v.offset_sec) AS offset_sec,
            coalesce(l.query_start_sec, v.query_start_sec) AS query_start_sec,
            coalesce(l.query_end_sec, v.query_end_sec) AS query_end_sec,
            coalesce(l.reference_start_sec, v.reference_start_sec) AS reference_start_sec,
            coalesce(l.reference_end_sec, v.reference_end_sec) AS reference_end_sec,
            coalesce(l.aligned_landmarks, 0) AS aligned_landmarks, l.chance_landmarks,
            coalesce(v.aligned_segments, 0) AS aligned_segments, v.similarity
        FROM landmark l
        FULL JOIN vector v ON v.asset_id = l.asset_id AND v.offset_sec BETWEEN
            l.offset_sec - (SELECT segment_hop_sec FROM fpdb.asset a WHERE a.asset_id = l.asset_id)
            AND l.offset_sec + (SELECT segment_hop_sec FROM fpdb.asset a WHERE a.asset_id = l.asset_id)
    ),
    -- Where landmarks and vectors point to different places of an asset, the surer one speaks.
    one AS (
        SELECT DISTINCT ON (asset_id) * FROM both_kinds ORDER BY asset_id, confidence DESC, score DESC
    )
    SELECT o.* FROM one o
    JOIN fpdb.asset a ON a.asset_id = o.asset_id
    JOIN fpdb.content_type t ON t.name = a.content_type
    WHERE o.confidence >= coalesce(min_confidence, t.match_threshold)
    ORDER BY o.confidence DESC, o.score DESC, o.asset_id
    LIMIT k
$$;
COMMENT ON FUNCTION fpdb.match(int[], int[], vector[], float8[], text, smallint, int, float8, text, text, jsonb, bigint) IS
    'Recordings that hold a clip, best first: landmark and vector candidates joined on asset and offset. Offset is reference time - query time; confidence is the probability that the answer is right; from min_confidence (default: the content type''s threshold) up; no row means no match.';

CREATE OR REPLACE FUNCTION fpdb.match_asset(
    asset_id bigint,
    k int DEFAULT 10,
    min_confidence float8 DEFAULT NULL,
    collection text DEFAULT NULL,
    content_type text DEFAULT NULL,
    metadata jsonb DEFAULT NULL
) RETURNS TABLE (
    other_asset_id bigint, confidence float8, score float8, offset_sec float8,
    query_start_sec float8, query_end_sec float8, reference_start_sec float8, reference_end_sec float8,
    aligned_landmarks int, chance_landmarks float8, aligned_segments int, similarity float8
)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10
SET search_path = pg_catalog, @extschema:vector@, pg_temp
AS $$
    SELECT m.*
    FROM (SELECT array_agg(hash) AS hashes, array_agg(frame) AS frames
          FROM fpdb.landmark l WHERE l.asset_id = match_asset.asset_id) l,
        (SELECT array_agg(e.embedding ORDER BY s.start_time_sec) AS embeddings,
                array_agg(s.start_time_sec ORDER BY s.start_time_sec) AS starts
         FROM fpdb.segment s JOIN fpdb.embedding e USING (segment_id)
         WHERE s.asset_id = match_asset.asset_id AND e.model_id = fpdb.active_model()) v
    CROSS JOIN LATERAL fpdb.match(coalesce(l.hashes, '{}'), coalesce(l.frames, '{}'), v.embeddings, v.starts, NULL,
        NULL, k, min_confidence, match_asset.collection, match_asset.content_type, match_asset.metadata,
        match_asset.asset_id) m
$$;
COMMENT ON FUNCTION fpdb.match_asset(bigint, int, float8, text, text, jsonb) IS
    'Other stored recordings that share a passage with a stored asset: duplicates, versions, samples. The columns are those of fpdb.match.';
