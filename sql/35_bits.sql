-- What it answers: how well the dense bits of a clip agree with those stored where landmarks propose.
-- Who calls it: fpdb.evidence; people look at fpdb.sub_fingerprint.
-- What must be true: a row holds a fixed number of bits, so that a frame tells the row and the place in it.

CREATE OR REPLACE FUNCTION fpdb.bits_a_row() RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
-- 1,920 bytes: four rows fill a page, and none is so long that it would be stored elsewhere.
AS $$ SELECT 15360 $$;
COMMENT ON FUNCTION fpdb.bits_a_row() IS 'Bits in a row of fpdb.sub_fingerprint; the last of an asset may hold fewer.';

CREATE OR REPLACE FUNCTION fpdb.bit_agreements(
    asset_ids bigint[], offsets int[], first_frames int[], last_frames int[], sub_fingerprints bit varying[],
    reach_frames int DEFAULT 3
) RETURNS TABLE (candidate int, offset_frames int, compared int, bit_error_rate float8)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100
SET search_path = pg_catalog, pg_temp
-- A look by key at the two rows of each candidate, however many the planner takes them for.
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    step int;   -- frames from one stored sub-fingerprint to the next
    width int;  -- bits of one
    held int;   -- sub-fingerprints in a row
    active smallint;
BEGIN
    SELECT (p.parameters->>'sub_fingerprint_frames')::int, (p.parameters->>'sub_fingerprint_bits')::int, p.profile_id
    INTO step, width, active FROM fpdb.profile p WHERE p.is_active;
    IF step IS NULL OR width IS NULL OR width = 0 THEN
        RETURN;
    END IF;
    IF cardinality(sub_fingerprints) > step
        OR EXISTS (SELECT FROM unnest(sub_fingerprints) AS b (bits) WHERE length(bits) % width <> 0) THEN
        RAISE EXCEPTION 'sub_fingerprints must be at most % strings of whole sub-fingerprints of % bits', step, width
            USING ERRCODE = 'array_subscript_error', HINT = 'were they made with another profile?';
    END IF;
    held := fpdb.bits_a_row() / width;
    RETURN QUERY
    WITH wanted AS (
        SELECT u.candidate::int, u.asset_id, u.offset_frames, u.first_frame, u.last_frame
        FROM unnest(asset_ids, offsets, first_frames, last_frames) WITH ORDINALITY
            AS u (asset_id, offset_frames, first_frame, last_frame, candidate)
    ),
    -- Sub-fingerprint n of the asset lies at frame n * step; only the clip's bits of one phase meet it.
    compared AS (
        SELECT w.candidate, w.offset_frames + s.shift AS offset_frames,
            sum(c.upto - c.since) AS compared,
            sum(bit_count(
                substring(r.bits FROM (c.since - r.part * held) * width + 1 FOR (c.upto - c.since) * width)
                # substring(q.bits FROM (c.since - q.ahead) * width + 1 FOR (c.upto - c.since) * width)
            )) AS errors
        FROM wanted w
        JOIN fpdb.sub_fingerprint r ON r.asset_id = w.asset_id AND r.profile_id = active
            AND r.part BETWEEN (w.first_frame + w.offset_frames - reach_frames) / step / held
                AND (w.last_frame + w.offset_frames + reach_frames) / step / held
        CROSS JOIN generate_series(-reach_frames, reach_frames) AS s (shift)
        CROSS JOIN LATERAL (
            SELECT phase, sub_fingerprints[phase + 1] AS bits, (phase + w.offset_frames + s.shift) / step AS ahead
            FROM (SELECT (step - (w.offset_frames + s.shift) % step) % step AS phase) p
        ) q
        CROSS JOIN LATERAL (
            SELECT greatest(r.part * held, q.ahead,
                    ceil((w.first_frame - q.phase) / step::float8)::int + q.ahead) AS since,
                least(r.part * held + length(r.bits) / width, q.ahead + length(q.bits) / width,
                    floor((w.last_frame - q.phase) / step::float8)::int + 1 + q.ahead) AS upto
        ) c
        WHERE q.bits IS NOT NULL AND c.upto > c.since
        GROUP BY w.candidate, w.offset_frames + s.shift
    )
    SELECT DISTINCT ON (c.candidate) c.candidate, c.offset_frames, c.compared::int, c.errors::float8 / (c.compared * width)
    FROM compared c
    WHERE c.compared >= 2
    ORDER BY c.candidate, c.errors::float8 / c.compared, c.offset_frames;
END
$$;
COMMENT ON FUNCTION fpdb.bit_agreements(bigint[], int[], int[], int[], bit varying[], int) IS
    'Bit error rates of a clip at candidate alignments, numbered from 1: asset, offset (frames, the best within reach_frames is taken), first and last frame of the clip to compare. sub_fingerprints[p + 1] holds the clip''s bits at frames p, p + step, … end to end; step and width are the active profile''s. A candidate that has nothing to compare is left out.';

CREATE OR REPLACE FUNCTION fpdb.bit_drift(
    asset_id bigint, offset_frames int, first_frame int, last_frame int, sub_fingerprints bit varying[]
) RETURNS TABLE (start_offset_frames float8, tempo float8)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
    -- The offsets at which the beginning, the middle and the end of the clip agree best lie on a line.
    WITH third AS (
        SELECT array_agg(bit_drift.asset_id) AS assets, array_agg(bit_drift.offset_frames) AS offsets,
            array_agg(first_frame + n * width) AS firsts, array_agg(first_frame + (n + 1) * width - 1) AS lasts
        FROM generate_series(0, 2) AS n, (SELECT (last_frame + 1 - first_frame) / 3 AS width) w
    ),
    line AS (
        SELECT count(*) AS thirds, regr_slope(a.offset_frames, t.firsts[a.candidate]) AS slope,
            -- What a third compares lies around its middle, and a patch sees 29 frames ahead.
            regr_intercept(a.offset_frames,
                (t.firsts[a.candidate] + t.lasts[a.candidate] + 29) / 2.0) AS intercept
        FROM third t, fpdb.bit_agreements(t.assets, t.offsets, t.firsts, t.lasts, sub_fingerprints, 16) a
        WHERE a.bit_error_rate < 0.42
    )
    SELECT intercept, 1 + slope FROM line WHERE thirds = 3
$$;
COMMENT ON FUNCTION fpdb.bit_drift(bigint, int, int, int, bit varying[]) IS
    'How many times the recording''s tempo a clip''s is, from the offsets at which its thirds agree best with an asset, and the offset (frames) where the clip begins; no row where a third does not agree.';
