-- What it answers: which recording is this, and where in it.
-- Who calls it: `fpdb identify`, workers for fpdb.query, the REST service, people.
-- What must be true: landmarks propose, bits decide, vectors add; all of them speak of (asset, offset).

-- Bodies that are parsed here and now are inlined: a search calls each of these for every alignment.
CREATE OR REPLACE FUNCTION fpdb.bit_deviation(decision fpdb.coefficients, compared float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- Chance, and what all music has in common: the latter grows with the length that is compared.
RETURN sqrt((decision).bit_spread ^ 2 + (decision).bit_likeness ^ 2 * compared);
COMMENT ON FUNCTION fpdb.bit_deviation(fpdb.coefficients, float8) IS
    'Standard deviation of the agreement (1 - 2 * bit error rate) * sqrt(n) between different recordings, n sub-fingerprints compared.';

CREATE OR REPLACE FUNCTION fpdb.bit_excess(
    decision fpdb.coefficients, agreement float8, compared float8, tried float8
) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- The greatest of n values of a normal law lies near sqrt(2 ln n) of its deviations.
RETURN agreement / fpdb.bit_deviation(decision, compared) - sqrt(2 * ln(greatest(tried, 2)));
COMMENT ON FUNCTION fpdb.bit_excess(fpdb.coefficients, float8, float8, float8) IS
    'Deviations by which an agreement of bits exceeds the greatest that chance gives in so many alignments tried.';

CREATE OR REPLACE FUNCTION fpdb.bit_log_odds(
    decision fpdb.coefficients, aligned float8, chance float8, excess float8, searches int
) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- Each of n searches has the n-th part of the odds that one had (Bonferroni).
RETURN (decision).bit_intercept + (decision).bit_agreement * excess
    + (decision).bit_landmarks * greatest(-4, least(8, 2 * (sqrt(aligned) - sqrt(chance))))
    - ln(greatest(searches, 1));
COMMENT ON FUNCTION fpdb.bit_log_odds(fpdb.coefficients, float8, float8, float8, int) IS
    'Logits that an alignment is real: its landmark votes and the most that chance gives, the excess of its bits (bit_excess), and the searches of its kind that one question makes.';

CREATE OR REPLACE FUNCTION fpdb.evidence(
    hashes int[],
    frames int[],
    sub_fingerprints bit varying[],
    embeddings vector[],
    segment_starts float8[],
    profile text,
    model smallint,
    collection text,
    content_type text,
    metadata jsonb,
    exclude_asset bigint,
    tempo float8,
    searches int,
    max_postings int,
    max_alignments int,
    models smallint[] DEFAULT NULL
) RETURNS TABLE (
    asset_id bigint, confidence float8, score float8, offset_sec float8,
    query_start_sec float8, query_end_sec float8, reference_start_sec float8, reference_end_sec float8,
    aligned_landmarks int, chance_landmarks float8,
    bit_error_rate float8, chance_bit_error_rate float8, compared_sub_fingerprints int, bit_rank int,
    aligned_segments int, similarity float8, agreement float8, excess float8, threshold float8, postings bigint
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 20
SET search_path = pg_catalog, @extschema:vector@, pg_temp
SET plan_cache_mode = force_generic_plan
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    frame float8 := fpdb.frame_sec();
    decision fpdb.coefficients := (SELECT c FROM fpdb.coefficients c);
    clip_first int := (SELECT min(f) FROM unnest(frames) f);
    clip_last int := (SELECT max(f) FROM unnest(frames) f);
    -- What is compared is at least so much of the clip around the agreement: ten seconds.
    around int := round(5 / fpdb.frame_sec());
BEGIN
    PERFORM fpdb.require_question(hashes, frames, profile);
    IF (tempo > 0 AND tempo < 'infinity') IS NOT TRUE THEN
        RAISE EXCEPTION 'tempo must be a factor above 0, not %', coalesce(tempo::text, 'NULL')
            USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
    RETURN QUERY
    WITH alignment AS MATERIALIZED (
        SELECT row_number() OVER ()::int AS candidate, l.*
        FROM fpdb.landmark_alignments(hashes, frames, evidence.collection, evidence.content_type,
            evidence.metadata, exclude_asset, coalesce(max_postings, 2000000), max_alignments) l
    ),
    checked AS MATERIALIZED (
        SELECT c.*, (1 - 2 * c.bit_error_rate) * sqrt(c.compared) AS agreement, count(*) OVER () * 7.0 AS tried,
            rank() OVER (ORDER BY c.bit_error_rate)::int AS bit_rank
        FROM (
            SELECT array_agg(a.asset_id ORDER BY candidate) AS assets,
                array_agg(round(a.offset_frames)::int ORDER BY candidate) AS offsets,
                array_agg(least(a.first_frame, (a.first_frame + a.last_frame) / 2 - around) ORDER BY candidate) AS firsts,
                array_agg(greatest(a.last_frame, (a.first_frame + a.last_frame) / 2 + around) ORDER BY candidate) AS lasts
            FROM alignment a
        ) a
        CROSS JOIN LATERAL fpdb.bit_agreements(a.assets, a.offsets, a.firsts, a.lasts, sub_fingerprints) c
    ),
    judged AS (
        SELECT a.*, c.bit_error_rate, c.compared, c.bit_rank, c.agreement, c.excess,
            0.5 - (c.agreement - c.excess * fpdb.bit_deviation(decision, c.compared)) / 2 / sqrt(c.compared)
                AS chance_bit_error_rate,
            coalesce(c.offset_frames, a.offset_frames) AS placed_frames,
            CASE WHEN c.candidate IS NULL THEN fpdb.landmark_log_odds(decision, a.aligned, a.chance)
                ELSE fpdb.bit_log_odds(decision, a.aligned, a.chance, c.excess, searches) END AS log_odds
        FROM alignment a
        LEFT JOIN (SELECT *, fpdb.bit_excess(decision, agreement, compared, tried) AS excess FROM checked) c USING (candidate)
    ),
    landmark AS MATERIALIZED (
        SELECT DISTINCT ON (j.asset_id) j.*, fpdb.probability(j.log_odds) AS confidence,
            j.placed_frames * frame AS offset_sec
        FROM judged j ORDER BY j.asset_id, j.log_odds DESC, j.aligned DESC, j.candidate
    ),
    vector AS MATERIALIZED (
        SELECT * FROM fpdb.match_models(embeddings, coalesce(segment_starts, '{}'), coalesce(models,
                array_fill(coalesce(model, fpdb.active_model()), ARRAY[cardinality(embeddings)])), 50,
            evidence.collection, evidence.content_type, evidence.metadata, exclude_asset)
        WHERE cardinality(embeddings) > 0 -- so that it is not called for nothing
    ),
    -- Two witnesses of one place: the alignment is false only if both err (noisy-or).
    both_kinds AS (
        SELECT coalesce(l.asset_id, v.asset_id) AS asset_id,
            1 - (1 - coalesce(l.confidence, 0)) * (1 - coalesce(v.confidence, 0)) AS confidence,
            coalesce(l.log_odds, 0) + coalesce(v.score, 0) AS score,
            coalesce(l.offset_sec, v.offset_sec) AS offset_sec,
            coalesce(l.first_frame * frame, v.query_start_sec) / tempo AS query_start_sec,
            coalesce((l.last_frame + 1) * frame, v.query_end_sec) / tempo AS query_end_sec,
            coalesce(greatest(0, l.first_frame * frame + l.offset_sec), v.reference_start_sec) AS reference_start_sec,
            coalesce((l.last_frame + 1) * frame + l.offset_sec, v.reference_end_sec) AS reference_end_sec,
            coalesce(l.aligned, 0) AS aligned, l.chance, l.bit_error_rate, l.chance_bit_error_rate,
            coalesce(l.compared, 0) AS compared, l.bit_rank,
            coalesce(v.aligned_segments, 0) AS aligned_segments, v.similarity, l.agreement, l.excess
        FROM landmark l
        FULL JOIN vector v ON v.asset_id = l.asset_id AND v.offset_sec BETWEEN
            l.offset_sec - (SELECT segment_hop_sec FROM fpdb.asset a WHERE a.asset_id = l.asset_id)
            AND l.offset_sec + (SELECT segment_hop_sec FROM fpdb.asset a WHERE a.asset_id = l.asset_id)
    ),
    -- Where landmarks and vectors point to different places of an asset, the surer one speaks.
    one AS (
        SELECT DISTINCT ON (asset_id) * FROM both_kinds ORDER BY asset_id, confidence DESC, score DESC
    )
    SELECT o.asset_id, o.confidence, o.score, o.offset_sec,
        o.query_start_sec, o.query_end_sec, o.reference_start_sec, o.reference_end_sec,
        o.aligned, o.chance, o.bit_error_rate, o.chance_bit_error_rate, o.compared, o.bit_rank,
        o.aligned_segments, o.similarity, o.agreement, o.excess, t.match_threshold,
        (SELECT max(a.postings) FROM alignment a)
    FROM one o
    JOIN fpdb.asset a ON a.asset_id = o.asset_id
    JOIN fpdb.content_type t ON t.name = a.content_type
    ORDER BY o.confidence DESC, o.score DESC, o.asset_id;
END
$$;
COMMENT ON FUNCTION fpdb.evidence(int[], int[], bit varying[], vector[], float8[], text, smallint, text, text, jsonb, bigint, float8, int, int, int, smallint[]) IS
    'Everything that speaks for each asset that landmarks or vectors propose, sure or not, best first, with the confidence its content type asks for; the arguments are those of fpdb.match, which keeps the sure ones.';

CREATE OR REPLACE FUNCTION fpdb.is_rival(agreement float8, other float8) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(abs(agreement - other) < 4 * coefficient, false) FROM fpdb.decision WHERE term = 'bit_spread'
$$;
COMMENT ON FUNCTION fpdb.is_rival(float8, float8) IS
    'Whether the bits of two matches agree so equally with a clip that chance decides which is first.';

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
    exclude_asset bigint DEFAULT NULL,
    sub_fingerprints bit varying[] DEFAULT NULL,
    tempo float8 DEFAULT 1,
    searches int DEFAULT 1,
    max_postings int DEFAULT NULL,
    max_alignments int DEFAULT 100,
    models smallint[] DEFAULT NULL
) RETURNS TABLE (
    asset_id bigint, confidence float8, score float8, offset_sec float8,
    query_start_sec float8, query_end_sec float8, reference_start_sec float8, reference_end_sec float8,
    aligned_landmarks int, chance_landmarks float8,
    bit_error_rate float8, chance_bit_error_rate float8, compared_sub_fingerprints int, bit_rank int,
    aligned_segments int, similarity float8, work_id bigint, is_ambiguous boolean
)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10
SET search_path = pg_catalog, @extschema:vector@, pg_temp
AS $$
    WITH sure AS MATERIALIZED (
        SELECT * FROM fpdb.evidence(hashes, frames, sub_fingerprints, embeddings, segment_starts, profile, model,
            match.collection, match.content_type, match.metadata, exclude_asset, tempo, searches, max_postings,
            max_alignments, models) e
        WHERE e.confidence >= coalesce(min_confidence, e.threshold)
    )
    SELECT s.asset_id, s.confidence, s.score, s.offset_sec,
        s.query_start_sec, s.query_end_sec, s.reference_start_sec, s.reference_end_sec,
        s.aligned_landmarks, s.chance_landmarks, s.bit_error_rate, s.chance_bit_error_rate,
        s.compared_sub_fingerprints, s.bit_rank, s.aligned_segments, s.similarity,
        coalesce(a.version_of, a.asset_id),
        fpdb.is_rival(s.agreement, (SELECT max(r.agreement) FROM sure r
            WHERE r.asset_id <> s.asset_id AND r.confidence >= r.threshold
                -- Of a clip of one recording after another, each holds its own part.
                AND least(r.query_end_sec, s.query_end_sec) - greatest(r.query_start_sec, s.query_start_sec)
                    >= least(r.query_end_sec - r.query_start_sec, s.query_end_sec - s.query_start_sec) / 2))
    FROM sure s JOIN fpdb.asset a USING (asset_id)
    ORDER BY s.confidence DESC, s.score DESC, s.asset_id
    LIMIT k
$$;
COMMENT ON FUNCTION fpdb.match(int[], int[], vector[], float8[], text, smallint, int, float8, text, text, jsonb, bigint, bit varying[], float8, int, int, int, smallint[]) IS
    'Recordings that hold a clip, best first: landmarks propose alignments (at most max_alignments, reading at most max_postings), sub_fingerprints (see bit_agreements) verify them, vectors add to them. Offset is reference time - query time; confidence is the probability that the answer is right; from min_confidence (default: the content type''s threshold) up; no row means no match. tempo is how many times the recording''s the clip''s was, where the caller undid it; searches how many of its kind one question makes. models names the model of each vector, where they are of several; else all are of model. is_ambiguous: another match holds this very passage as well.';

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
    aligned_landmarks int, chance_landmarks float8,
    bit_error_rate float8, chance_bit_error_rate float8, compared_sub_fingerprints int, bit_rank int,
    aligned_segments int, similarity float8, work_id bigint, is_ambiguous boolean
)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10
SET search_path = pg_catalog, @extschema:vector@, pg_temp
AS $$
    SELECT m.*
    FROM (SELECT array_agg(hash) AS hashes, array_agg(frame) AS frames
          FROM fpdb.asset_landmarks(match_asset.asset_id) l) l,
        -- Stored bits are those of phase 0, all of them end to end.
        (SELECT ARRAY[string_agg(s.bits::text, '' ORDER BY s.part)::bit varying] AS bits
         FROM fpdb.sub_fingerprint s JOIN fpdb.profile p ON p.profile_id = s.profile_id AND p.is_active
         WHERE s.asset_id = match_asset.asset_id) b,
        (SELECT array_agg(e.embedding ORDER BY s.start_time_sec) AS embeddings,
                array_agg(s.start_time_sec ORDER BY s.start_time_sec) AS starts
         FROM fpdb.segment s JOIN fpdb.embedding e USING (segment_id)
         WHERE s.asset_id = match_asset.asset_id AND e.model_id = fpdb.active_model()) v
    CROSS JOIN LATERAL fpdb.match(coalesce(l.hashes, '{}'), coalesce(l.frames, '{}'), v.embeddings, v.starts, NULL,
        NULL, k, min_confidence, match_asset.collection, match_asset.content_type, match_asset.metadata,
        match_asset.asset_id, b.bits) m
$$;
COMMENT ON FUNCTION fpdb.match_asset(bigint, int, float8, text, text, jsonb) IS
    'Other stored recordings that share a passage with a stored asset: duplicates, versions, samples. The columns are those of fpdb.match.';
