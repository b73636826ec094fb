-- What it answers: which recordings share landmarks with a clip, at which offset.
-- Who calls it: fpdb.match, and people through fpdb.match_landmarks.
-- What must be true: how postings are stored is known to 25_index.sql alone.

CREATE OR REPLACE FUNCTION fpdb.frame_sec() RETURNS float8
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (parameters->>'hop_samples')::float8 / (parameters->>'sample_rate_hz')::float8
    FROM fpdb.profile WHERE is_active
$$;
COMMENT ON FUNCTION fpdb.frame_sec() IS 'Seconds of a frame of the active profile.';

CREATE OR REPLACE FUNCTION fpdb.chance_votes(expected float8, offsets float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- Bernstein's bound on a Poisson count: P(X >= expected + t) <= exp(-t^2 / (2 (expected + t / 3))).
-- A body that is parsed here and now needs no search_path, and costs a query nothing: it is inlined.
RETURN expected + ln(greatest(offsets, 2)) / 3
    + sqrt((ln(greatest(offsets, 2)) / 3) ^ 2 + 2 * expected * ln(greatest(offsets, 2)));
COMMENT ON FUNCTION fpdb.chance_votes(float8, float8) IS
    'The most votes that chance would give the best of so many offsets, when it gives each `expected` votes on average.';

CREATE OR REPLACE FUNCTION fpdb.probability(log_odds float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 1 / (1 + exp(-greatest(-50, least(50, log_odds))));
COMMENT ON FUNCTION fpdb.probability(float8) IS 'The probability (0 to 1) of logits.';

CREATE OR REPLACE VIEW fpdb.coefficients AS
    SELECT max(coefficient) FILTER (WHERE term = 'landmark_intercept') AS landmark_intercept,
        max(coefficient) FILTER (WHERE term = 'landmark_excess') AS landmark_excess,
        max(coefficient) FILTER (WHERE term = 'bit_spread') AS bit_spread,
        max(coefficient) FILTER (WHERE term = 'bit_likeness') AS bit_likeness,
        max(coefficient) FILTER (WHERE term = 'bit_intercept') AS bit_intercept,
        max(coefficient) FILTER (WHERE term = 'bit_agreement') AS bit_agreement,
        max(coefficient) FILTER (WHERE term = 'bit_landmarks') AS bit_landmarks
    FROM fpdb.decision;
COMMENT ON VIEW fpdb.coefficients IS
    'The terms of fpdb.decision side by side: one row, which a search reads once and hands to the functions that judge.';
COMMENT ON COLUMN fpdb.coefficients.landmark_intercept IS 'Logits where landmarks alone speak.';
COMMENT ON COLUMN fpdb.coefficients.landmark_excess IS 'Logits for each deviation of votes above chance, where landmarks alone speak.';
COMMENT ON COLUMN fpdb.coefficients.bit_spread IS 'Deviation of the agreement of bits that chance gives.';
COMMENT ON COLUMN fpdb.coefficients.bit_likeness IS 'What all music has in common, a sub-fingerprint.';
COMMENT ON COLUMN fpdb.coefficients.bit_intercept IS 'Logits where bits speak.';
COMMENT ON COLUMN fpdb.coefficients.bit_agreement IS 'Logits for each deviation by which bits agree more than chance.';
COMMENT ON COLUMN fpdb.coefficients.bit_landmarks IS 'Logits for each deviation of votes above chance, beside bits.';

CREATE OR REPLACE FUNCTION fpdb.landmark_log_odds(decision fpdb.coefficients, aligned float8, chance float8)
RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- 2 * sqrt makes the spread of a Poisson count 1, whatever its mean (Anscombe 1948).
RETURN (decision).landmark_intercept + (decision).landmark_excess * 2 * (sqrt(aligned) - sqrt(chance));
COMMENT ON FUNCTION fpdb.landmark_log_odds(fpdb.coefficients, float8, float8) IS
    'Logits that an alignment is real, from its votes and the most that chance would give, where nothing else is known.';

CREATE OR REPLACE FUNCTION fpdb.require_question(hashes int[], frames int[], profile text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF cardinality(hashes) IS DISTINCT FROM cardinality(frames) THEN
        RAISE EXCEPTION 'hashes and frames must be arrays of one length, not % and %',
            coalesce(cardinality(hashes)::text, 'NULL'), coalesce(cardinality(frames)::text, 'NULL')
            USING ERRCODE = 'array_subscript_error';
    END IF;
    IF (SELECT min(f) <= -(1 << 30) OR max(f) >= 1 << 30 FROM unnest(frames) f) THEN
        RAISE EXCEPTION 'frames must lie between -2^30 and 2^30' USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
    IF profile IS NOT NULL THEN
        PERFORM fpdb.require_profile(profile);
    END IF;
END
$$;
COMMENT ON FUNCTION fpdb.require_question(int[], int[], text) IS
    'Raises an error unless the landmarks of a query make sense and its profile, where given, is the active one.';

CREATE OR REPLACE FUNCTION fpdb.landmark_alignments(
    hashes int[], frames int[], collection text, content_type text, metadata jsonb, exclude_asset bigint,
    max_postings int DEFAULT 2000000, k int DEFAULT 100
) RETURNS TABLE (
    asset_id bigint, offset_frames float8, aligned int, anchors int, votes int, chance float8,
    first_frame int, last_frame int, postings bigint, assets bigint
)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
-- Nobody knows how many votes come; a nested loop over them would be slow.
SET enable_nestloop = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH vote AS MATERIALIZED (
        SELECT * FROM fpdb.landmark_votes(hashes, frames, landmark_alignments.collection,
            landmark_alignments.content_type, landmark_alignments.metadata, exclude_asset, max_postings, 4 * k)
    ),
    -- An anchor speaks through at most three landmarks, so that one moment cannot decide.
    anchor AS (
        SELECT alignment, asset_id, query_frame, count(*) AS landmarks, sum(offset_frames) AS offsets,
            lead(query_frame, 2) OVER in_time - query_frame <= 86 AS begins,
            query_frame - lag(query_frame, 2) OVER in_time <= 86 AS ends
        FROM vote
        GROUP BY alignment, asset_id, query_frame
        WINDOW in_time AS (PARTITION BY alignment, asset_id ORDER BY query_frame)
    ),
    alignment AS (
        SELECT asset_id, sum(offsets)::float8 / sum(landmarks) AS offset_frames,
            sum(least(landmarks, 3))::int AS aligned, count(*)::int AS anchors, sum(landmarks)::int AS votes,
            -- Agreements of chance lie scattered over the clip: a span begins and ends where
            -- three anchors agree within two seconds.
            coalesce(min(query_frame) FILTER (WHERE begins), min(query_frame)) AS first_frame,
            coalesce(max(query_frame) FILTER (WHERE ends), max(query_frame)) AS last_frame
        FROM anchor GROUP BY alignment, asset_id
    ),
    best AS (
        SELECT * FROM (
            SELECT *, row_number() OVER (
                PARTITION BY asset_id ORDER BY aligned DESC, votes DESC, offset_frames) AS place
            FROM alignment WHERE votes > 1
        ) a
        WHERE place <= 4
        ORDER BY aligned DESC, votes DESC, asset_id, offset_frames LIMIT k
    ),
    asset AS (
        SELECT asset_id, max(asset_votes) AS votes, max(postings) AS postings, max(assets) AS assets
        FROM vote GROUP BY asset_id
    )
    SELECT b.asset_id, b.offset_frames, b.aligned, b.anchors, b.votes,
        -- Were the asset's votes scattered over all its offsets alike, three offsets would hold so many.
        fpdb.chance_votes(3 * s.votes / o.offsets, o.offsets * s.assets),
        b.first_frame, b.last_frame, s.postings, s.assets
    FROM best b
    JOIN asset s USING (asset_id)
    -- A look by key at each; a join without nested loops would read every asset there is.
    CROSS JOIN LATERAL (
        SELECT greatest(1, (SELECT a.duration_sec FROM fpdb.asset a WHERE a.asset_id = b.asset_id)
            / (SELECT fpdb.frame_sec()) + (SELECT max(f) - min(f) FROM unnest(frames) f)) AS offsets
        OFFSET 0
    ) o
    ORDER BY b.aligned DESC, b.votes DESC, b.asset_id, b.offset_frames;
END
$$;
COMMENT ON FUNCTION fpdb.landmark_alignments(int[], int[], text, text, jsonb, bigint, int, int) IS
    'The k likeliest alignments, at most four an asset and three frames apart: offset (reference frame - query frame), votes counted at most three an anchor, anchors, votes, the most votes that chance would give, the span in query frames; and for the whole search the postings read (rarest hashes first, at most max_postings) and assets searched.';

CREATE OR REPLACE FUNCTION fpdb.match_landmarks(
    hashes int[],
    frames int[],
    profile text DEFAULT NULL,
    k int DEFAULT 10,
    min_confidence float8 DEFAULT NULL,
    collection text DEFAULT NULL,
    content_type text DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    exclude_asset bigint DEFAULT NULL,
    max_postings int DEFAULT NULL
) RETURNS TABLE (
    asset_id bigint, confidence float8, score float8, offset_sec float8,
    query_start_sec float8, query_end_sec float8, reference_start_sec float8, reference_end_sec float8,
    aligned_landmarks int, chance_landmarks float8
)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    frame float8 := fpdb.frame_sec();
    decision fpdb.coefficients := (SELECT c FROM fpdb.coefficients c);
BEGIN
    PERFORM fpdb.require_question(hashes, frames, profile);
    RETURN QUERY
    SELECT m.asset_id, j.confidence, m.aligned::float8, m.offset_frames * frame,
        m.first_frame * frame, (m.last_frame + 1) * frame,
        greatest(0, (m.first_frame + m.offset_frames) * frame), (m.last_frame + 1 + m.offset_frames) * frame,
        m.aligned, m.chance
    FROM (
        SELECT DISTINCT ON (m.asset_id) m.*
        FROM fpdb.landmark_alignments(hashes, frames, match_landmarks.collection, match_landmarks.content_type,
            match_landmarks.metadata, exclude_asset, coalesce(max_postings, 2000000), 200) m
        ORDER BY m.asset_id, m.aligned DESC, m.votes DESC, m.offset_frames
    ) m
    JOIN fpdb.asset a ON a.asset_id = m.asset_id
    JOIN fpdb.content_type t ON t.name = a.content_type
    CROSS JOIN LATERAL (SELECT fpdb.probability(fpdb.landmark_log_odds(decision, m.aligned, m.chance)) AS confidence) j
    WHERE j.confidence >= coalesce(min_confidence, t.landmark_threshold)
    ORDER BY j.confidence DESC, m.aligned DESC, m.asset_id
    LIMIT k;
END
$$;
COMMENT ON FUNCTION fpdb.match_landmarks(int[], int[], text, int, float8, text, text, jsonb, bigint, int) IS
    'Recordings that hold a clip''s landmarks: hashes with their frames, the digest of their profile (checked when given), at most k answers from min_confidence (default: the content type''s threshold) up. Offset is reference time - query time; times in seconds; at most max_postings (default 2 million) are read, of the rarest hashes.';
