-- What it answers: where hashes occur, from packed runs and the newest rows together.
-- Who calls it: fpdb.landmark_alignments; fpdb.match_asset; people and workers call fpdb.compact.
-- What must be true: nothing else in sql/ knows how postings are stored, but what removes them: triggers, fpdb.drop_profile.

-- A hash is mixed before it is cut into key and residual: hash * 0x9e3779 mod 2^24, undone by
-- 0xb382c9. Of 34 million postings with real statistics, a posting then shares its row with 209 others
-- instead of 2,431, and the longest row has 1,984 entries instead of 33,541.
CREATE OR REPLACE VIEW fpdb.landmark AS
    SELECT d.asset_id, d.hash, d.frame
    FROM fpdb.delta d JOIN fpdb.profile a ON a.profile_id = d.profile_id AND a.is_active
    UNION ALL
    SELECT b.asset_id,
        ((((p.key::bigint << r.residual_bits) | (e.entry >> (r.block_bits + 14))) * 11764425) & 16777215)::int,
        b.first_frame + (e.entry & 16383)
    FROM fpdb.run r
    JOIN fpdb.profile a ON a.profile_id = r.profile_id AND a.is_active
    JOIN fpdb.posting p ON p.run_id = r.run_id
    CROSS JOIN LATERAL unnest(p.entries) AS e (entry)
    JOIN fpdb.block b ON b.run_id = r.run_id AND b.block = (e.entry >> 14) & ((1 << r.block_bits) - 1);
COMMENT ON VIEW fpdb.landmark IS
    'Every landmark of the active profile, for people to look at; one asset costs a look at the whole index, unless it is new.';
COMMENT ON COLUMN fpdb.landmark.asset_id IS 'The asset.';
COMMENT ON COLUMN fpdb.landmark.hash IS 'Anchor''s half bin << 14 | (difference in half bins + 128) << 6 | frames between.';
COMMENT ON COLUMN fpdb.landmark.frame IS 'The anchor''s frame; seconds = frame * hop_samples / sample_rate_hz of its profile.';

-- A vote is one integer, line << clip_bits | query frame, where line = slot * 2^14 + frame within the
-- block - query frame, and slots number the blocks of all runs. Votes for one offset of one asset then
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
    packed AS MATERIALIZED (
        SELECT r.run_id, r.residual_bits, (1 << r.residual_bits) - 1 AS residual_mask,
            r.block_bits + 14 AS shift, ((1::bigint << (r.block_bits + 14)) - 1)::int AS entry_mask,
            r.blocks, r.assets, (sum(r.blocks) OVER (ORDER BY r.run_id) - r.blocks)::int AS first_slot
        FROM fpdb.run r JOIN fpdb.profile p ON p.profile_id = r.profile_id AND p.is_active
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
            SELECT array_agg(a.asset_id IS NOT NULL ORDER BY r.first_slot + n.block)
            FROM packed r
            CROSS JOIN LATERAL generate_series(0, r.blocks - 1) AS n (block)
            LEFT JOIN fpdb.block b ON b.run_id = r.run_id AND b.block = n.block
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
            ((SELECT coalesce(sum(blocks), 0) FROM packed)
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
    -- 2,000 of the votes, as nothing is known of how the others lie.
    level AS MATERIALIZED (
        SELECT coalesce((
            SELECT m FROM unnest(ARRAY[2, 3, 4, 5, 6, 8, 11, 16, 23, 32, 45]) AS m
            WHERE (
                SELECT count(*) * greatest(1, s.count / 2000)
                FROM generate_series(2, s.count - m + 1, greatest(1, s.count / 2000)) AS n
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
        JOIN packed r ON s.slot >= r.first_slot AND s.slot < r.first_slot + r.blocks
        CROSS JOIN LATERAL (
            SELECT * FROM fpdb.block b WHERE b.run_id = r.run_id AND b.block = s.slot - r.first_slot LIMIT 1) b
        UNION ALL
        SELECT f.slot, f.asset_id, f.part << 14 FROM fresh_slot f
    ),
    asset_slot AS (
        SELECT b.asset_id, r.first_slot + b.block AS slot
        FROM (SELECT DISTINCT asset_id FROM place) p
        CROSS JOIN LATERAL (SELECT * FROM fpdb.block b WHERE b.asset_id = p.asset_id OFFSET 0) b
        JOIN packed r USING (run_id)
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
        SELECT least(s.count, CASE WHEN c.slots IS NULL THEN (SELECT coalesce(sum(r.assets), 0) FROM packed r)
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
                b.first_frame, b.first_block, b.last_block,
                ((1 << (24 - r.residual_bits)) * least(1, max_entries::float8 / r.postings))::int AS keys
            FROM (
                SELECT b.run_id, min(b.block) AS first_block, max(b.block) AS last_block,
                    min(b.first_frame) AS first_frame
                FROM fpdb.block b WHERE b.asset_id = asset_landmarks.asset_id GROUP BY b.run_id
            ) b JOIN fpdb.run r USING (run_id) JOIN fpdb.profile p ON p.profile_id = r.profile_id AND p.is_active
        ) r
        CROSS JOIN LATERAL (SELECT * FROM fpdb.posting p WHERE p.run_id = r.run_id AND p.key < r.keys OFFSET 0) p
    ) e
    WHERE (e.entry >> 14) & e.block_mask BETWEEN e.first_block AND e.last_block
$$;
COMMENT ON FUNCTION fpdb.asset_landmarks(bigint, bigint) IS
    'Landmarks (hash, frame) of one asset by the active profile, or a fair sample of them where its run holds more than so many entries (3 million take half a second).';

CREATE OR REPLACE FUNCTION fpdb.compact(max_postings bigint DEFAULT NULL)
RETURNS TABLE (action text, run_id int, blocks int, postings bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET max_parallel_workers_per_gather = 0
SET jit = off
SET work_mem = '64MB'
-- Nothing is known of how much is moved, and a nested loop over it takes minutes.
SET enable_nestloop = off
AS $$
#variable_conflict use_column
DECLARE
    seal_limit CONSTANT bigint := 1 << 24;    -- postings sealed at once: 1 GB of temporary files
    run_limit CONSTANT bigint := 1 << 28;     -- postings of a run that is merged no more: it takes minutes
    block_limit CONSTANT int := 1 << 17;      -- block numbers that fit an entry beside 14 bits of frame
    part_postings CONSTANT bigint := 1 << 20; -- sorted at once in a merge
    key_postings CONSTANT bigint := 96;       -- of a key, and up to twice as many: 4.7 bytes a posting; 5.2 with half
    handled bigint := 0;
    new_run int;
    new_profile smallint;
    new_assets int;
    new_blocks int;
    new_postings bigint;
    new_block_bits int;
    new_residual_bits int;
    first_asset CONSTANT bigint := '-9223372036854775808';
    an_asset bigint;
    its_blocks int;
    its_postings bigint;
    sealed bigint[];
    sources int[];
    busy int[] := '{}';
    from_runs int[];
    from_blocks int[];
    numbers int[];
    part_bits int;
    packed bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(1718641762, 25) THEN
        RETURN QUERY SELECT 'another compaction is running', NULL::int, NULL::int, NULL::bigint;
        RETURN;
    END IF;
    -- Before any other table, as TRUNCATE fpdb.asset does it, so that the two never wait in a circle.
    LOCK TABLE fpdb.asset IN ROW SHARE MODE;

    -- Seal: the landmarks of assets that nobody is changing become a run. What another transaction has
    -- not committed is not seen, and stays in the delta until the next time.
    FOR new_profile IN SELECT p.profile_id FROM fpdb.profile p ORDER BY 1 LOOP
        an_asset := first_asset;
        WHILE an_asset IS NOT NULL AND (max_postings IS NULL OR handled < max_postings) LOOP
            new_run := nextval(pg_get_serial_sequence('fpdb.run', 'run_id'));
            new_blocks := 0;
            new_postings := 0;
            sealed := '{}';
            WHILE new_postings < least(seal_limit, max_postings - handled) AND new_blocks < block_limit / 2 LOOP
                -- One step on the index of assets at a time: the delta may be long.
                an_asset := (SELECT min(d.asset_id) FROM fpdb.delta d WHERE d.asset_id > an_asset);
                EXIT WHEN an_asset IS NULL;
                -- Who removes an asset's landmarks locks its row FOR UPDATE first. So nobody touches these until
                -- we are done, and as we wait for nobody, we are part of no deadlock.
                PERFORM FROM fpdb.asset a
                WHERE a.asset_id = an_asset AND a.landmark_status IN ('ready', 'failed')
                    AND (SELECT true FROM fpdb.delta d
                        WHERE d.asset_id = an_asset AND d.profile_id = new_profile LIMIT 1)
                FOR KEY SHARE SKIP LOCKED;
                CONTINUE WHEN NOT FOUND;
                -- Empty blocks are numbered too: neighbours in number are neighbours in time.
                WITH part AS MATERIALIZED (
                    SELECT d.frame >> 14 AS part, count(*) AS postings
                    FROM fpdb.delta d WHERE d.asset_id = an_asset AND d.profile_id = new_profile GROUP BY 1
                ),
                made AS (
                    INSERT INTO fpdb.block (run_id, block, asset_id, first_frame, postings)
                    SELECT new_run, new_blocks + row_number() OVER (ORDER BY n) - 1, an_asset, n << 14,
                        coalesce(p.postings, 0)
                    FROM generate_series((SELECT min(part) FROM part), (SELECT max(part) FROM part)) AS n
                    LEFT JOIN part p ON p.part = n
                    RETURNING postings
                )
                SELECT count(*), coalesce(sum(postings), 0) INTO its_blocks, its_postings FROM made;
                new_blocks := new_blocks + its_blocks;
                new_postings := new_postings + its_postings;
                sealed := sealed || an_asset;
            END LOOP;
            CONTINUE WHEN sealed = '{}';
            new_block_bits := (SELECT min(n) FROM generate_series(0, 17) AS n WHERE new_blocks <= 1 << n);
            new_residual_bits := (SELECT coalesce(min(n), 24) FROM generate_series(0, 24) AS n
                WHERE key_postings << (24 - n) <= new_postings);
            new_residual_bits := least(new_residual_bits, 17 - new_block_bits);
            INSERT INTO fpdb.run (run_id, profile_id, block_bits, residual_bits, assets, blocks, postings)
            OVERRIDING SYSTEM VALUE
            VALUES (new_run, new_profile, new_block_bits, new_residual_bits, cardinality(sealed), new_blocks, new_postings);
            WITH moved AS (
                DELETE FROM fpdb.delta d WHERE d.asset_id = ANY (sealed) AND d.profile_id = new_profile
                RETURNING d.asset_id, d.hash, d.frame
            ),
            made AS (
                INSERT INTO fpdb.posting (run_id, key, entries)
                SELECT new_run, key, array_agg(entry ORDER BY entry)
                FROM (
                    SELECT m.mixed >> new_residual_bits AS key,
                        ((m.mixed & ((1 << new_residual_bits) - 1)) << (new_block_bits + 14))
                            | (b.block << 14) | (m.frame & 16383) AS entry
                    FROM (SELECT asset_id, frame, ((hash::bigint * 10368889) & 16777215)::int AS mixed FROM moved) m
                    JOIN fpdb.block b ON b.run_id = new_run AND b.asset_id = m.asset_id
                        AND b.first_frame = (m.frame >> 14) << 14
                ) e
                GROUP BY key
                RETURNING cardinality(entries) AS entries
            )
            SELECT sum(entries) INTO packed FROM made;
            IF packed IS DISTINCT FROM new_postings THEN
                RAISE EXCEPTION 'landmarks of an asset changed while they were packed'
                    USING HINT = 'nothing was lost; run fpdb.compact() again', ERRCODE = 'serialization_failure';
            END IF;
            handled := handled + new_postings;
            RETURN QUERY SELECT 'sealed', new_run, new_blocks, new_postings;
        END LOOP;
    END LOOP;

    -- Merge: every run is to hold more than all smaller ones together, so that few are asked; and what is
    -- three tenths dead is written again. A merge locks nothing until its postings are written.
    WHILE max_postings IS NULL OR handled < max_postings LOOP
        WITH alive AS (
            SELECT r.run_id, r.profile_id, r.postings, coalesce(b.blocks, 0) AS blocks,
                coalesce(b.postings, 0)::bigint AS alive
            FROM fpdb.run r LEFT JOIN (
                SELECT b.run_id, count(*) AS blocks, sum(b.postings) AS postings FROM fpdb.block b GROUP BY b.run_id
            ) b USING (run_id)
            WHERE r.run_id <> ALL (busy)
        ),
        ascending AS (
            SELECT *, row_number() OVER by_size AS place, sum(alive) OVER by_size AS together,
                sum(blocks) OVER by_size AS blocks_together
            FROM alive
            WINDOW by_size AS (PARTITION BY profile_id ORDER BY alive, run_id)
        ),
        due AS (
            SELECT profile_id, max(place) AS places FROM ascending
            WHERE place > 1 AND alive <= together - alive AND together <= run_limit AND blocks_together <= block_limit
            GROUP BY profile_id
        )
        SELECT a.profile_id, array_agg(a.run_id ORDER BY a.run_id) INTO new_profile, sources
        FROM ascending a LEFT JOIN due d USING (profile_id)
        WHERE (a.place <= d.places OR (d.places IS NULL AND a.alive <= 0.7 * a.postings))
        GROUP BY a.profile_id, CASE WHEN d.places IS NULL THEN a.run_id END
        ORDER BY count(*) DESC LIMIT 1;
        EXIT WHEN sources IS NULL;
        SELECT array_agg(b.run_id ORDER BY b.run_id, b.block), array_agg(b.block ORDER BY b.run_id, b.block),
            count(*), count(DISTINCT b.asset_id), coalesce(sum(b.postings), 0)
        INTO from_runs, from_blocks, new_blocks, new_assets, new_postings
        FROM fpdb.block b WHERE b.run_id = ANY (sources);
        -- A run of which someone is deleting a block is left for the next time. The lock that tells is given
        -- back at once, so that nobody waits for us while the postings are written.
        BEGIN
            WITH free AS MATERIALIZED (
                SELECT b.run_id FROM fpdb.block b WHERE b.run_id = ANY (sources) FOR UPDATE SKIP LOCKED
            )
            SELECT busy || array_agg(b.run_id) INTO busy
            FROM (SELECT b.run_id, count(*) AS blocks FROM fpdb.block b WHERE b.run_id = ANY (sources) GROUP BY 1) b
            LEFT JOIN (SELECT f.run_id, count(*) AS blocks FROM free f GROUP BY 1) f USING (run_id)
            WHERE b.blocks IS DISTINCT FROM f.blocks;
            RAISE SQLSTATE 'FP001';
        EXCEPTION WHEN SQLSTATE 'FP001' THEN
            CONTINUE WHEN sources && busy;
        END;
        new_run := nextval(pg_get_serial_sequence('fpdb.run', 'run_id'));
        IF new_blocks > 0 THEN
            new_block_bits := (SELECT min(n) FROM generate_series(0, 17) AS n WHERE new_blocks <= 1 << n);
            new_residual_bits := (SELECT coalesce(min(n), 24) FROM generate_series(0, 24) AS n
                WHERE key_postings << (24 - n) <= new_postings);
            new_residual_bits := least(new_residual_bits, 17 - new_block_bits);
            -- Old number to new one, run after run; -1 is dead. (Postgres walks an array that holds a NULL.)
            numbers := ARRAY(
                SELECT coalesce(f.number, -1)
                FROM fpdb.run r
                CROSS JOIN LATERAL generate_series(0, r.blocks - 1) AS n (block)
                LEFT JOIN (SELECT f.run_id, f.block, f.number::int - 1 AS number
                    FROM unnest(from_runs, from_blocks) WITH ORDINALITY AS f (run_id, block, number)) f
                    ON f.run_id = r.run_id AND f.block = n.block
                WHERE r.run_id = ANY (sources)
                ORDER BY r.run_id, n.block
            );
            -- In parts of the keys, each sorted in memory.
            part_bits := 24 - greatest(new_residual_bits,
                (SELECT max(r.residual_bits) FROM fpdb.run r WHERE r.run_id = ANY (sources)));
            part_bits := (SELECT coalesce(min(n), part_bits) FROM generate_series(0, part_bits) AS n
                WHERE new_postings <= part_postings << n);
            packed := 0;
            FOR part IN 0 .. (1 << part_bits) - 1 LOOP
                WITH source AS (
                    SELECT r.run_id, r.residual_bits, r.block_bits + 14 AS shift, (1 << r.block_bits) - 1 AS block_mask,
                        (sum(r.blocks) OVER (ORDER BY r.run_id))::int - r.blocks + 1 AS first_number,
                        (part << (24 - part_bits)) >> r.residual_bits AS first_key,
                        (((part + 1) << (24 - part_bits)) - 1) >> r.residual_bits AS last_key
                    FROM fpdb.run r WHERE r.run_id = ANY (sources)
                ),
                made AS (
                    INSERT INTO fpdb.posting (run_id, key, entries)
                    SELECT new_run, key, array_agg(entry ORDER BY entry)
                    FROM (
                        SELECT e.mixed >> new_residual_bits AS key,
                            ((e.mixed & ((1 << new_residual_bits) - 1)) << (new_block_bits + 14))
                                | (e.number << 14) | e.frame AS entry
                        FROM (
                            SELECT (p.key << p.residual_bits) | (p.entry >> p.shift) AS mixed,
                                numbers[((p.entry >> 14) & p.block_mask) + p.first_number] AS number,
                                p.entry & 16383 AS frame
                            FROM (
                                SELECT s.*, p.key, unnest(p.entries) AS entry
                                FROM source s CROSS JOIN LATERAL (
                                    SELECT * FROM fpdb.posting p
                                    WHERE p.run_id = s.run_id AND p.key BETWEEN s.first_key AND s.last_key OFFSET 0) p
                            ) p
                        ) e
                        WHERE e.number >= 0
                    ) e
                    GROUP BY key
                    RETURNING cardinality(entries) AS entries
                )
                SELECT packed + coalesce(sum(entries), 0) INTO packed FROM made;
            END LOOP;
            INSERT INTO fpdb.run (run_id, profile_id, block_bits, residual_bits, assets, blocks, postings)
            OVERRIDING SYSTEM VALUE
            VALUES (new_run, new_profile, new_block_bits, new_residual_bits, new_assets, new_blocks, packed);
            -- A block that someone began to delete meanwhile stays where it is, and so does its run.
            WITH free AS MATERIALIZED (
                SELECT b.run_id, b.block FROM fpdb.block b WHERE b.run_id = ANY (sources) FOR UPDATE SKIP LOCKED
            )
            UPDATE fpdb.block b SET run_id = new_run, block = f.number - 1
            FROM free JOIN unnest(from_runs, from_blocks) WITH ORDINALITY AS f (run_id, block, number)
                USING (run_id, block)
            WHERE b.run_id = free.run_id AND b.block = free.block;
        END IF;
        busy := busy || ARRAY(SELECT DISTINCT b.run_id FROM fpdb.block b WHERE b.run_id = ANY (sources));
        DELETE FROM fpdb.posting p WHERE p.run_id = ANY (sources) AND p.run_id <> ALL (busy);
        DELETE FROM fpdb.run r WHERE r.run_id = ANY (sources) AND r.run_id <> ALL (busy);
        handled := handled + new_postings;
        RETURN QUERY SELECT CASE WHEN new_blocks > 0 THEN 'merged' ELSE 'dropped' END,
            CASE WHEN new_blocks > 0 THEN new_run END, new_blocks, new_postings;
    END LOOP;
END
$$;
COMMENT ON FUNCTION fpdb.compact(bigint) IS
    'Packs the newest landmarks into a run and merges runs, and says what it did. With max_postings it stops after about so many: call it until it returns nothing. Safe beside everything else; killed, it has done nothing.';
