-- What it answers: where hashes occur, from packed runs and the newest rows together.
-- Who calls it: fpdb.landmark_alignments, fpdb.match_asset, people.
-- What must be true: only this file, 26_merge.sql and 27_compaction.sql know how postings are stored.

-- A hash is mixed before it is cut into key and residual: hash * 0x9e3779 mod 2^24, undone by
-- 0xb382c9. Of 34 million postings with real statistics, a posting then shares its row with 209 others
-- instead of 2,431, and the longest row has 1,984 entries instead of 33,541.
CREATE OR REPLACE VIEW fpdb.landmark AS
    SELECT d.asset_id, d.hash, d.frame
    FROM fpdb.delta d JOIN fpdb.profile a ON a.profile_id = d.profile_id AND a.is_active
    UNION ALL
    SELECT b.asset_id,
        ((((e.key::bigint << e.residual_bits) | (e.entry >> (e.block_bits + 14))) * 11764425) & 16777215)::int,
        b.first_frame + (e.entry & 16383)
    -- Blocks come last, by hash: joined before the entries are unpacked, each entry meets every block.
    FROM (
        SELECT r.tier_id, r.first_block, r.block_bits, r.residual_bits, p.key, unnest(p.entries) AS entry
        FROM fpdb.run r
        JOIN fpdb.tier t ON t.tier_id = r.tier_id
        JOIN fpdb.profile a ON a.profile_id = t.profile_id AND a.is_active
        JOIN fpdb.posting p ON p.run_id = r.run_id
        OFFSET 0
    ) e
    JOIN fpdb.block b ON b.tier_id = e.tier_id
        AND b.block = e.first_block + ((e.entry >> 14) & ((1 << e.block_bits) - 1));
COMMENT ON VIEW fpdb.landmark IS
    'Every landmark of the active profile, for people to look at; one asset costs a look at the whole index, unless it is new.';
COMMENT ON COLUMN fpdb.landmark.asset_id IS 'The asset.';
COMMENT ON COLUMN fpdb.landmark.hash IS 'Anchor''s half bin << 14 | (difference in half bins + 128) << 6 | frames between.';
COMMENT ON COLUMN fpdb.landmark.frame IS 'The anchor''s frame; seconds = frame * hop_samples / sample_rate_hz of its profile.';

-- A vote is one integer, line << clip_bits | query frame, where line = slot * 2^14 + frame within the
-- block - query frame, and slots number the blocks of all tiers. Votes for one offset of one asset then
-- share a line, across its blocks too: sorting the integers is all the counting there is. Neighbouring
-- assets share lines where a clip hangs over their ends; (line + query frame) >> 14 tells them apart.
CREATE OR REPLACE FUNCTION fpdb.landmark_votes(
    hashes int[], frames int[], collection text, content_type text, metadata jsonb, exclude_asset bigint,
    max_postings bigint, max_alignments int
) RETURNS TABLE (
    alignment bigint, asset_id bigint, offset_frames int, query_frame int,
    asset_votes bigint, postings bigint, assets bigint
)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 2000
SET search_path = pg_catalog, pg_temp
-- Planning takes 5 ms, a third of a small query: once a session. (A function in SQL plans in each
-- statement that calls it, before Postgres 18.)
SET plan_cache_mode = force_generic_plan
-- The planner cannot know how long the arrays are: an index probe a hash, whatever it thinks.
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_memoize = off
SET max_parallel_workers_per_gather = 0
SET jit = off
SET work_mem = '32MB'
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH clip AS MATERIALIZED (
        SELECT first, span, (SELECT min(n) FROM generate_series(1, 23) n WHERE span < 1 << n) AS bits
        FROM (SELECT min(f) AS first, least(max(f) - min(f), (1 << 23) - 1) AS span FROM unnest(frames) f) f
    ),
    tier AS MATERIALIZED (
        SELECT t.tier_id, t.blocks, t.assets, (sum(t.blocks) OVER (ORDER BY t.tier_id) - t.blocks)::int AS first_slot
        FROM fpdb.tier t JOIN fpdb.profile p ON p.profile_id = t.profile_id AND p.is_active
    ),
    -- first_slot is the slot of the block that the run's entries call 0.
    packed AS MATERIALIZED (
        SELECT r.run_id, r.residual_bits, (1 << r.residual_bits) - 1 AS residual_mask,
            r.block_bits + 14 AS shift, ((1::bigint << (r.block_bits + 14)) - 1)::int AS entry_mask,
            t.first_slot + r.first_block AS first_slot
        FROM tier t JOIN fpdb.run r USING (tier_id)
    ),
    asked AS MATERIALIZED (
        SELECT u.hash, u.frame - c.first AS frame, ((u.hash::bigint * 10368889) & 16777215)::int AS mixed
        FROM unnest(hashes, frames) AS u (hash, frame), clip c
        WHERE u.hash BETWEEN 0 AND 16777215 AND u.frame - c.first <= c.span
        ORDER BY mixed
    ),
    -- Which slots are in scope, or NULL for all of them: a vote elsewhere is never counted.
    scope AS MATERIALIZED (
        SELECT CASE WHEN num_nonnulls(collection, content_type, metadata, exclude_asset) > 0 THEN (
            SELECT array_agg(a.asset_id IS NOT NULL ORDER BY t.first_slot + n.block)
            FROM tier t
            CROSS JOIN LATERAL generate_series(0, t.blocks - 1) AS n (block)
            LEFT JOIN fpdb.block b ON b.tier_id = t.tier_id AND b.block = n.block
            LEFT JOIN fpdb.asset a ON a.asset_id = b.asset_id
                AND (landmark_votes.collection IS NULL OR a.collection = landmark_votes.collection)
                AND (landmark_votes.content_type IS NULL OR a.content_type = landmark_votes.content_type)
                AND (landmark_votes.metadata IS NULL OR a.metadata @> landmark_votes.metadata)
                AND (exclude_asset IS NULL OR a.asset_id <> exclude_asset)
        ) END AS slots
    ),
    -- A row a hash and run. LIMIT keeps the planner from joining by a scan of the whole index.
    found AS MATERIALIZED (
        SELECT q.hash, q.frame, q.mixed, r.run_id, p.low, p.high - p.low AS postings, p.entries
        FROM packed r
        CROSS JOIN asked q
        CROSS JOIN LATERAL (
            -- What is long is read again, once the budget is known, rather than kept in memory.
            SELECT low, high, CASE WHEN high - low <= 256 THEN p.entries[low + 1 : high] END AS entries
            FROM (
                SELECT p.entries,
                    width_bucket(((q.mixed & r.residual_mask) << r.shift) - 1, p.entries) AS low,
                    width_bucket(((q.mixed & r.residual_mask) << r.shift) | r.entry_mask, p.entries) AS high
                FROM fpdb.posting p
                WHERE p.run_id = r.run_id AND p.key = q.mixed >> r.residual_bits
                LIMIT 1
            ) p
            WHERE high > low
        ) p
    ),
    fresh AS MATERIALIZED (
        SELECT q.hash, q.frame AS query_frame, d.asset_id, d.frame
        FROM asked q CROSS JOIN LATERAL (SELECT * FROM fpdb.delta d WHERE d.hash = q.hash
            AND d.profile_id = (SELECT p.profile_id FROM fpdb.profile p WHERE p.is_active) OFFSET 0) d
    ),
    total AS MATERIALIZED (
        SELECT coalesce((SELECT sum(f.postings) FROM found f), 0)::bigint + (SELECT count(*) FROM fresh) AS postings
    ),
    -- The rarest hashes first; where all of them fit, nobody counts.
    affordable AS MATERIALIZED (
        SELECT hash, cost FROM (
            SELECT hash, cost, sum(cost) OVER (ORDER BY cost, hash ROWS UNBOUNDED PRECEDING) AS spent
            FROM (
                SELECT hash, sum(n)::int AS cost
                FROM (
                    SELECT f.hash, f.postings AS n FROM found f
                    UNION ALL
                    SELECT f.hash, count(*)::int FROM fresh f GROUP BY f.hash
                ) c
                WHERE (SELECT t.postings FROM total t) > max_postings
                GROUP BY hash
            ) c
        ) c
        WHERE spent <= max_postings
    ),
    within AS MATERIALIZED (
        SELECT t.postings <= max_postings AS is_all,
            CASE WHEN t.postings <= max_postings THEN t.postings
                ELSE (SELECT coalesce(sum(cost), 0) FROM affordable) END AS postings
        FROM total t
    ),
    fresh_slot AS MATERIALIZED (
        SELECT f.asset_id, f.part,
            ((SELECT coalesce(sum(blocks), 0) FROM tier)
                + row_number() OVER (ORDER BY f.asset_id, f.part) - 1)::int AS slot
        FROM (SELECT f.asset_id, generate_series(min(f.frame) >> 14, max(f.frame) >> 14) AS part
            FROM fresh f GROUP BY f.asset_id) f
        JOIN fpdb.asset a ON a.asset_id = f.asset_id
        JOIN fpdb.profile p ON p.profile_id = a.profile_id AND p.is_active
        WHERE (landmark_votes.collection IS NULL OR a.collection = landmark_votes.collection)
            AND (landmark_votes.content_type IS NULL OR a.content_type = landmark_votes.content_type)
            AND (landmark_votes.metadata IS NULL OR a.metadata @> landmark_votes.metadata)
            AND (exclude_asset IS NULL OR a.asset_id <> exclude_asset)
    ),
    vote AS (
        SELECT e.entry * e.scale + e.base AS vote
        FROM (
            SELECT unnest(f.entries) AS entry, f.scale, f.base, f.entry_mask, f.first_slot, f.slots
            FROM (
                SELECT coalesce(f.entries, (
                        SELECT p.entries[f.low + 1 : f.low + f.postings] FROM fpdb.posting p
                        WHERE p.run_id = f.run_id AND p.key = f.mixed >> r.residual_bits)) AS entries,
                    1::bigint << c.bits AS scale,
                    (((r.first_slot::bigint << 14) - ((f.mixed & r.residual_mask)::bigint << r.shift) - f.frame)
                        << c.bits) + f.frame AS base,
                    r.entry_mask, r.first_slot, s.slots
                FROM clip c, scope s, found f JOIN packed r USING (run_id)
                WHERE (SELECT is_all FROM within) OR f.hash IN (SELECT hash FROM affordable)
                OFFSET 0 -- once a hash, not once an entry
            ) f
        ) e
        WHERE e.slots IS NULL OR e.slots[((e.entry & e.entry_mask) >> 14) + e.first_slot + 1]
        UNION ALL
        SELECT (((s.slot::bigint << 14) + (f.frame & 16383) - f.query_frame) << c.bits) | f.query_frame
        FROM clip c, fresh f JOIN fresh_slot s ON s.asset_id = f.asset_id AND s.part = f.frame >> 14
        WHERE (SELECT is_all FROM within) OR f.hash IN (SELECT hash FROM affordable)
    ),
    sorted AS MATERIALIZED (
        SELECT votes, cardinality(votes) AS count, bits, (1 << bits) - 1 AS mask
        FROM clip, (SELECT array_agg(vote ORDER BY vote) AS votes FROM vote) v
    ),
    -- How many votes three neighbouring lines must hold for some 4,000 of them to remain: measured on
    -- 500 of the votes, as nothing is known of how the others lie.
    level AS MATERIALIZED (
        SELECT coalesce((
            SELECT m FROM unnest(ARRAY[2, 3, 4, 5, 6, 8, 11, 16, 23, 32, 45]) AS m
            WHERE (
                SELECT count(*) * greatest(1, s.count / 500)
                FROM generate_series(2, s.count - m + 1, greatest(1, s.count / 500)) AS n
                WHERE (s.votes[n + m - 1] >> s.bits) - (s.votes[n] >> s.bits) <= 2
                    AND s.votes[n - 1] >> s.bits <> s.votes[n] >> s.bits
            ) <= 4000
            LIMIT 1), 64) AS least
        FROM sorted s
    ),
    -- Lines that begin three which hold so many.
    line AS MATERIALIZED (
        SELECT v.line, width_bucket((v.line << s.bits) - 1, s.votes) AS low,
            width_bucket(((v.line + 3) << s.bits) - 1, s.votes) AS high
        FROM sorted s, (
            SELECT v.first >> v.bits AS line
            FROM (
                SELECT unnest(s.votes) AS first, unnest(s.later) AS nth, s.bits, s.near
                FROM (
                    SELECT s.votes, s.votes[l.least :] AS later, s.bits, 3::bigint << s.bits AS near
                    FROM sorted s, level l
                    OFFSET 0
                ) s
            ) v
            -- The first condition follows from the second, and is cheap.
            WHERE v.nth - v.first < v.near AND (v.nth >> v.bits) - (v.first >> v.bits) <= 2
            GROUP BY 1
        ) v
    ),
    -- The best of its neighbourhood, five lines apart, so that no two means are nearer than three.
    peak AS MATERIALIZED (
        SELECT row_number() OVER () AS alignment, line, low, high FROM (
            SELECT *, max(high - low) OVER (ORDER BY line RANGE BETWEEN 4 PRECEDING AND 1 PRECEDING) AS before,
                max(high - low) OVER (ORDER BY line RANGE BETWEEN 1 FOLLOWING AND 4 FOLLOWING) AS after
            FROM line
        ) l
        WHERE high - low > coalesce(before, 0) AND high - low >= coalesce(after, 0)
        ORDER BY high - low DESC, line
        LIMIT max_alignments
    ),
    chosen AS MATERIALIZED (
        SELECT alignment, line, ((line + frame) >> 14)::int AS slot, frame
        FROM (
            SELECT p.alignment, v.vote >> s.bits AS line, (v.vote & s.mask)::int AS frame
            FROM peak p, sorted s, LATERAL unnest(s.votes[p.low + 1 : p.high]) AS v (vote)
        ) v
    ),
    place AS MATERIALIZED (
        SELECT s.slot, b.asset_id, b.first_frame
        FROM (SELECT DISTINCT slot FROM chosen) s
        JOIN tier t ON s.slot >= t.first_slot AND s.slot < t.first_slot + t.blocks
        CROSS JOIN LATERAL (
            SELECT * FROM fpdb.block b WHERE b.tier_id = t.tier_id AND b.block = s.slot - t.first_slot LIMIT 1) b
        UNION ALL
        SELECT f.slot, f.asset_id, f.part << 14 FROM fresh_slot f
    ),
    asset_slot AS (
        SELECT b.asset_id, t.first_slot + b.block AS slot
        FROM (SELECT DISTINCT asset_id FROM place) p
        CROSS JOIN LATERAL (SELECT * FROM fpdb.block b WHERE b.asset_id = p.asset_id OFFSET 0) b
        JOIN tier t USING (tier_id)
        UNION ALL
        SELECT asset_id, slot FROM fresh_slot
    ),
    asset_total AS MATERIALIZED (
        SELECT a.asset_id, sum(n.votes)::bigint AS votes
        FROM asset_slot a, sorted s, clip c, LATERAL (
            SELECT count(*) AS votes FROM (SELECT unnest(s.votes[
                width_bucket((((a.slot::bigint << 14) - c.span) << s.bits) - 1, s.votes) + 1 :
                width_bucket((((a.slot::bigint + 1) << 14) << s.bits) - 1, s.votes)]) AS vote) v
            WHERE ((v.vote >> s.bits) + (v.vote & s.mask)) >> 14 = a.slot
        ) n
        GROUP BY a.asset_id
    ),
    -- An upper bound that costs nothing: only its logarithm is used.
    searched AS (
        SELECT least(s.count, CASE WHEN c.slots IS NULL THEN (SELECT coalesce(sum(t.assets), 0) FROM tier t)
                ELSE (SELECT count(*) FROM unnest(c.slots) AS n (slot) WHERE slot) END
            + (SELECT count(DISTINCT f.asset_id) FROM fresh_slot f)) AS assets
        FROM sorted s, scope c
    )
    SELECT v.alignment, p.asset_id, (v.line - (p.slot::bigint << 14))::int + p.first_frame - c.first,
        v.frame + c.first, t.votes, w.postings, s.assets::bigint
    FROM chosen v
    JOIN place p USING (slot)
    JOIN asset_total t USING (asset_id)
    CROSS JOIN clip c CROSS JOIN within w CROSS JOIN searched s;
END
$$;
COMMENT ON FUNCTION fpdb.landmark_votes(int[], int[], text, text, jsonb, bigint, bigint, int) IS
    'The agreements of query landmarks with stored ones at the likeliest offsets (reference frame - query frame): which alignment, its asset, the votes of that asset at all offsets, postings read (at most max_postings, rarest hashes first), assets searched.';

CREATE OR REPLACE FUNCTION fpdb.asset_landmarks(asset_id bigint, max_entries bigint DEFAULT 3000000)
RETURNS TABLE (hash int, frame int)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 5000
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
    SELECT d.hash, d.frame FROM fpdb.delta d
    WHERE d.asset_id = asset_landmarks.asset_id
        AND d.profile_id = (SELECT p.profile_id FROM fpdb.profile p WHERE p.is_active)
    UNION ALL
    -- An index by hash knows an asset's landmarks only by a look at every row. Mixed hashes are spread
    -- evenly, so the first rows hold a fair sample of them, over all of the asset's time.
    SELECT ((((e.key::bigint << e.residual_bits) | (e.entry >> e.shift)) * 11764425) & 16777215)::int,
        e.first_frame + ((((e.entry >> 14) & e.block_mask) - e.first_block) << 14) + (e.entry & 16383)
    FROM (
        SELECT p.key, r.residual_bits, r.shift, r.block_mask, r.first_frame, r.first_block, r.last_block,
            unnest(p.entries) AS entry
        FROM (
            SELECT r.run_id, r.residual_bits, r.block_bits + 14 AS shift, (1 << r.block_bits) - 1 AS block_mask,
                b.first_block - r.first_block AS first_block, b.last_block - r.first_block AS last_block, b.first_frame,
                ((1 << (24 - r.residual_bits)) * least(1, max_entries::float8 / b.entries))::int AS keys
            FROM (
                SELECT b.tier_id, min(b.block) AS first_block, max(b.block) AS last_block,
                    min(b.first_frame) AS first_frame,
                    (SELECT sum(r.postings) FROM fpdb.run r WHERE r.tier_id = b.tier_id) AS entries
                FROM fpdb.block b WHERE b.asset_id = asset_landmarks.asset_id GROUP BY b.tier_id
            ) b
            JOIN fpdb.tier t USING (tier_id)
            JOIN fpdb.profile p ON p.profile_id = t.profile_id AND p.is_active
            JOIN fpdb.run r USING (tier_id)
        ) r
        CROSS JOIN LATERAL (SELECT * FROM fpdb.posting p WHERE p.run_id = r.run_id AND p.key < r.keys OFFSET 0) p
    ) e
    WHERE (e.entry >> 14) & e.block_mask BETWEEN e.first_block AND e.last_block
$$;
COMMENT ON FUNCTION fpdb.asset_landmarks(bigint, bigint) IS
    'Landmarks (hash, frame) of one asset by the active profile, or a fair sample of them where its tier holds more than so many entries (3 million take half a second).';
