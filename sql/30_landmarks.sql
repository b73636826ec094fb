-- What it answers: which recordings share landmarks with a clip, at which offset.
-- Who calls it: fpdb.match, and people through fpdb.match_landmarks and the view fpdb.landmark.
-- What must be true: only fpdb.landmark_votes and fpdb.landmark know how postings are stored.

CREATE OR REPLACE VIEW fpdb.landmark AS
    SELECT asset_id, hash, frame FROM fpdb.posting;
COMMENT ON VIEW fpdb.landmark IS 'Every stored landmark, for people to look at.';
COMMENT ON COLUMN fpdb.landmark.asset_id IS 'The asset.';
COMMENT ON COLUMN fpdb.landmark.hash IS 'Anchor''s half bin << 14 | (difference in half bins + 128) << 6 | frames between.';
COMMENT ON COLUMN fpdb.landmark.frame IS 'The anchor''s frame; seconds = frame * hop_samples / sample_rate_hz of its profile.';

CREATE OR REPLACE FUNCTION fpdb.landmark_votes(hashes int[], frames int[])
RETURNS TABLE (asset_id bigint, offset_frames int, query_frame int)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 20000
SET search_path = pg_catalog, pg_temp
-- An index probe a hash; the planner, which cannot know how long the arrays are, would scan.
SET enable_nestloop = on
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_seqscan = off
AS $$
    SELECT p.asset_id, p.frame - q.frame, q.frame
    FROM (SELECT * FROM unnest(hashes, frames) AS u (hash, frame) ORDER BY hash) q
    JOIN fpdb.posting p ON p.hash = q.hash
$$;
COMMENT ON FUNCTION fpdb.landmark_votes(int[], int[]) IS
    'Every agreement of a query landmark with a stored one: asset, offset (reference frame - query frame), query frame.';

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
SET search_path = pg_catalog, pg_temp
AS $$
    -- Bernstein's bound on a Poisson count: P(X >= expected + t) <= exp(-t^2 / (2 (expected + t / 3))).
    SELECT expected + l / 3 + sqrt(l * l / 9 + 2 * expected * l)
    FROM (VALUES (ln(greatest(offsets, 2)))) AS trials (l)
$$;
COMMENT ON FUNCTION fpdb.chance_votes(float8, float8) IS
    'The most votes that chance would give the best of so many offsets, when it gives each `expected` votes on average.';

CREATE OR REPLACE FUNCTION fpdb.landmark_confidence(aligned float8, chance float8) RETURNS float8
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    -- 2 * sqrt makes the spread of a Poisson count 1, whatever its mean (Anscombe 1948).
    SELECT 1 / (1 + exp(-greatest(-50, least(50, sum(coefficient * CASE term
        WHEN 'intercept' THEN 1
        WHEN 'excess' THEN 2 * (sqrt(aligned) - sqrt(chance))
        END)))))
    FROM fpdb.decision
$$;
COMMENT ON FUNCTION fpdb.landmark_confidence(float8, float8) IS
    'Probability that an alignment is real, from its votes and the most that chance would give; coefficients are rows of fpdb.decision.';

CREATE OR REPLACE FUNCTION fpdb.landmark_alignments(
    hashes int[], frames int[], collection text, content_type text, metadata jsonb, exclude_asset bigint
) RETURNS TABLE (
    asset_id bigint, aligned int, chance float8,
    offset_frames float8, first_frame int, last_frame int
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 50
SET search_path = pg_catalog, pg_temp
-- The planner takes filters that may be NULL for narrow ones; a nested loop over all votes is slow.
SET enable_nestloop = off
AS $$
    WITH vote AS MATERIALIZED (
        SELECT * FROM fpdb.landmark_votes(hashes, frames)
    ),
    -- The two grids of frames are not in phase: a vote counts for the neighbouring offsets too.
    line AS (
        SELECT asset_id, offset_frames + step AS offset_frames, count(*) AS votes
        FROM vote, (VALUES (-1), (0), (1)) AS neighbour (step)
        GROUP BY 1, 2 HAVING count(*) > 1
    ),
    best AS (
        SELECT DISTINCT ON (asset_id) asset_id, offset_frames, votes
        FROM line ORDER BY asset_id, votes DESC, offset_frames
    ),
    searched AS MATERIALIZED (
        SELECT b.*, a.duration_sec, count(*) OVER () AS assets
        FROM best b
        JOIN fpdb.asset a USING (asset_id)
        JOIN fpdb.profile p ON p.profile_id = a.profile_id AND p.is_active
        WHERE (landmark_alignments.collection IS NULL OR a.collection = landmark_alignments.collection)
            AND (landmark_alignments.content_type IS NULL OR a.content_type = landmark_alignments.content_type)
            AND (landmark_alignments.metadata IS NULL OR a.metadata @> landmark_alignments.metadata)
            AND (exclude_asset IS NULL OR a.asset_id <> exclude_asset)
    ),
    candidate AS MATERIALIZED (
        SELECT * FROM searched ORDER BY votes DESC, asset_id LIMIT 50
    ),
    -- An anchor speaks through at most three landmarks, so that one moment cannot decide.
    anchor AS (
        SELECT c.asset_id, v.query_frame, least(count(*), 3) AS votes,
            sum(v.offset_frames) AS offsets, count(*) AS landmarks,
            lead(v.query_frame, 2) OVER in_time - v.query_frame <= 43 AS begins,
            v.query_frame - lag(v.query_frame, 2) OVER in_time <= 43 AS ends
        FROM candidate c JOIN vote v
            ON v.asset_id = c.asset_id AND v.offset_frames BETWEEN c.offset_frames - 1 AND c.offset_frames + 1
        GROUP BY c.asset_id, v.query_frame
        WINDOW in_time AS (PARTITION BY c.asset_id ORDER BY v.query_frame)
    ),
    alignment AS MATERIALIZED (
        SELECT asset_id, sum(votes)::int AS aligned,
            sum(offsets)::float8 / sum(landmarks) AS offset_frames,
            -- Agreements of chance lie scattered over the clip: a span begins and ends where
            -- three anchors agree within a second.
            coalesce(min(query_frame) FILTER (WHERE begins), min(query_frame)) AS first_frame,
            coalesce(max(query_frame) FILTER (WHERE ends), max(query_frame)) AS last_frame
        FROM anchor GROUP BY asset_id
    ),
    total AS MATERIALIZED (
        SELECT asset_id, count(*) AS votes FROM vote GROUP BY asset_id
    ),
    -- Were the asset's votes scattered over all its offsets alike, three offsets would hold so many.
    expectation AS (
        SELECT c.asset_id, c.assets, offsets, 3 * t.votes / offsets AS votes
        FROM candidate c
        JOIN total t USING (asset_id),
        LATERAL (SELECT greatest(1, c.duration_sec / fpdb.frame_sec()
            + (SELECT max(f) - min(f) FROM unnest(frames) f)) AS offsets) o
    )
    SELECT a.asset_id, a.aligned, fpdb.chance_votes(e.votes, e.offsets * e.assets),
        a.offset_frames, a.first_frame, a.last_frame
    FROM alignment a JOIN expectation e USING (asset_id)
$$;
COMMENT ON FUNCTION fpdb.landmark_alignments(int[], int[], text, text, jsonb, bigint) IS
    'The best alignment of each of the 50 likeliest assets, in frames, with what chance would give; match_landmarks judges them.';

CREATE OR REPLACE FUNCTION fpdb.match_landmarks(
    hashes int[],
    frames int[],
    profile text DEFAULT NULL,
    k int DEFAULT 10,
    min_confidence float8 DEFAULT NULL,
    collection text DEFAULT NULL,
    content_type text DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    exclude_asset bigint DEFAULT NULL
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
    RETURN QUERY
    SELECT m.asset_id, j.confidence, m.aligned::float8, m.offset_frames * frame,
        m.first_frame * frame, (m.last_frame + 1) * frame,
        greatest(0, (m.first_frame + m.offset_frames) * frame), (m.last_frame + 1 + m.offset_frames) * frame,
        m.aligned, m.chance
    FROM fpdb.landmark_alignments(hashes, frames, match_landmarks.collection, match_landmarks.content_type,
        match_landmarks.metadata, exclude_asset) m
    JOIN fpdb.asset a ON a.asset_id = m.asset_id
    JOIN fpdb.content_type t ON t.name = a.content_type
    CROSS JOIN LATERAL (SELECT fpdb.landmark_confidence(m.aligned, m.chance) AS confidence) j
    WHERE j.confidence >= coalesce(min_confidence, t.landmark_threshold)
    ORDER BY j.confidence DESC, m.aligned DESC, m.asset_id
    LIMIT k;
END
$$;
COMMENT ON FUNCTION fpdb.match_landmarks(int[], int[], text, int, float8, text, text, jsonb, bigint) IS
    'Recordings that hold a clip''s landmarks: hashes with their frames, the digest of their profile (checked when given), at most k answers from min_confidence (default: the content type''s threshold) up. Offset is reference time - query time; times in seconds.';
