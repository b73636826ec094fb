-- What it answers: how the newest landmarks are packed, when it is time, and whether what was packed is whole.
-- Who calls it: workers, `fpdb ingest`, fpdb.index_status, people.
-- What must be true: what is packed is what 25_index.sql reads; a search is right before, meanwhile and after.

CREATE OR REPLACE FUNCTION fpdb.seal(profile_id smallint, max_postings bigint)
RETURNS TABLE (run_id int, blocks int, postings bigint)
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
    block_limit CONSTANT int := 1 << 16;      -- half of what fits an entry: an asset's blocks stay together
    handled bigint := 0;
    an_asset bigint := '-9223372036854775808';
    its_blocks int;
    its_postings bigint;
    sealed bigint[];
    new_tier int;
    packed bigint;
BEGIN
    -- What another transaction has not committed is not seen, and stays in the delta until the next time.
    WHILE an_asset IS NOT NULL AND (max_postings IS NULL OR handled < max_postings) LOOP
        new_tier := nextval(pg_get_serial_sequence('fpdb.tier', 'tier_id'));
        blocks := 0;
        postings := 0;
        sealed := '{}';
        WHILE postings < least(seal_limit, max_postings - handled) AND blocks < block_limit LOOP
            -- One step on the index of assets at a time: the delta may be long.
            an_asset := (SELECT min(d.asset_id) FROM fpdb.delta d WHERE d.asset_id > an_asset);
            EXIT WHEN an_asset IS NULL;
            -- Who removes an asset's landmarks locks its row FOR UPDATE first. So nobody touches these until
            -- we are done, and as we wait for nobody, we are part of no deadlock.
            PERFORM FROM fpdb.asset a
            WHERE a.asset_id = an_asset AND a.landmark_status IN ('ready', 'failed')
                AND (SELECT true FROM fpdb.delta d
                    WHERE d.asset_id = an_asset AND d.profile_id = seal.profile_id LIMIT 1)
            FOR KEY SHARE SKIP LOCKED;
            CONTINUE WHEN NOT FOUND;
            -- Empty blocks are numbered too: neighbours in number are neighbours in time.
            WITH part AS MATERIALIZED (
                SELECT d.frame >> 14 AS part, count(*) AS postings
                FROM fpdb.delta d WHERE d.asset_id = an_asset AND d.profile_id = seal.profile_id GROUP BY 1
            ),
            made AS (
                INSERT INTO fpdb.block (tier_id, block, asset_id, first_frame, postings)
                SELECT new_tier, seal.blocks + row_number() OVER (ORDER BY n) - 1, an_asset, n << 14,
                    coalesce(p.postings, 0)
                FROM generate_series((SELECT min(part) FROM part), (SELECT max(part) FROM part)) AS n
                LEFT JOIN part p ON p.part = n
                RETURNING block.postings
            )
            SELECT count(*), coalesce(sum(m.postings), 0) INTO its_blocks, its_postings FROM made m;
            blocks := blocks + its_blocks;
            postings := postings + its_postings;
            sealed := sealed || an_asset;
        END LOOP;
        CONTINUE WHEN sealed = '{}';
        INSERT INTO fpdb.tier (tier_id, profile_id, assets, blocks)
        OVERRIDING SYSTEM VALUE VALUES (new_tier, seal.profile_id, cardinality(sealed), seal.blocks);
        INSERT INTO fpdb.run (tier_id, first_block, blocks, block_bits, residual_bits, postings)
        SELECT new_tier, 0, seal.blocks, s.block_bits, s.residual_bits, seal.postings
        FROM fpdb.run_shape(seal.blocks, seal.postings) s
        RETURNING run.run_id INTO run_id;
        WITH moved AS (
            DELETE FROM fpdb.delta d WHERE d.asset_id = ANY (sealed) AND d.profile_id = seal.profile_id
            RETURNING d.asset_id, d.frame, ((d.hash::bigint * 10368889) & 16777215)::int AS mixed
        ),
        made AS (
            INSERT INTO fpdb.posting (run_id, key, entries)
            SELECT e.run_id, key, array_agg(entry ORDER BY entry)
            FROM (
                SELECT r.run_id, m.mixed >> r.residual_bits AS key,
                    ((m.mixed & ((1 << r.residual_bits) - 1)) << (r.block_bits + 14))
                        | (b.block << 14) | (m.frame & 16383) AS entry
                FROM (SELECT * FROM fpdb.run r WHERE r.run_id = seal.run_id) r
                CROSS JOIN moved m
                JOIN fpdb.block b ON b.tier_id = new_tier AND b.asset_id = m.asset_id
                    AND b.first_frame = (m.frame >> 14) << 14
            ) e
            GROUP BY e.run_id, key
            RETURNING cardinality(entries) AS entries
        )
        SELECT sum(entries) INTO packed FROM made;
        IF packed IS DISTINCT FROM postings THEN
            RAISE EXCEPTION 'landmarks of an asset changed while they were packed'
                USING HINT = 'nothing was lost; run fpdb.compact() again', ERRCODE = 'serialization_failure';
        END IF;
        handled := handled + postings;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION fpdb.seal(smallint, bigint) IS
    'Packs the newest landmarks of a profile, of assets that nobody is changing, into runs, each a tier of its own; about max_postings in all.';

CREATE OR REPLACE FUNCTION fpdb.compact(max_postings bigint DEFAULT 8388608)
RETURNS TABLE (action text, run_id int, blocks int, postings bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    handled bigint := 0;
    busy int[] := '{}';
    tier int;
    a_profile smallint;
    is_complete boolean;
BEGIN
    IF NOT pg_try_advisory_xact_lock(1718641762, 25) THEN
        RETURN QUERY SELECT 'another compaction is running', NULL::int, NULL::int, NULL::bigint;
        RETURN;
    END IF;
    -- Before any other table, as TRUNCATE fpdb.asset does it, so that the two never wait in a circle.
    LOCK TABLE fpdb.asset IN ROW SHARE MODE;
    FOR a_profile IN SELECT p.profile_id FROM fpdb.profile p ORDER BY 1 LOOP
        FOR run_id, blocks, postings IN SELECT * FROM fpdb.seal(a_profile, max_postings - handled) LOOP
            action := 'sealed';
            handled := handled + postings;
            RETURN NEXT;
        END LOOP;
    END LOOP;
    WHILE max_postings IS NULL OR handled < max_postings LOOP
        SELECT r.tier_id INTO tier FROM fpdb.run r WHERE r.merged_to IS NOT NULL ORDER BY r.tier_id LIMIT 1;
        IF tier IS NULL THEN
            SELECT m.tier_id, m.busy INTO tier, busy FROM fpdb.begin_merge(busy) m;
            EXIT WHEN tier IS NULL;
        END IF;
        SELECT r.run_id, r.blocks INTO run_id, blocks
        FROM fpdb.run r WHERE r.tier_id = tier AND r.merged_to IS NOT NULL;
        SELECT m.written, m.is_complete INTO postings, is_complete
        FROM fpdb.advance_merge(tier, max_postings - handled) m;
        handled := handled + postings;
        action := CASE WHEN blocks = 0 THEN 'dropped' WHEN is_complete THEN 'merged' ELSE 'merging' END;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION fpdb.compact(bigint) IS
    'Packs the newest landmarks into runs and merges tiers, and says what it did. It stops after about max_postings (NULL: never), and what is merged halfway is searched as well: call it until it returns nothing, each time in a transaction of its own. Safe beside everything else; killed, it has done nothing.';

CREATE OR REPLACE FUNCTION fpdb.compaction_is_due() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    -- The delta is counted no further than matters: it may be long, and workers ask every minute.
    SELECT EXISTS (SELECT FROM fpdb.delta OFFSET greatest(100000, (SELECT sum(b.postings) FROM fpdb.block b) / 50))
        OR EXISTS (SELECT FROM fpdb.run r WHERE r.merged_to IS NOT NULL)
        OR (SELECT m.tiers IS NOT NULL FROM fpdb.mergeable_tiers() m)
$$;
COMMENT ON FUNCTION fpdb.compaction_is_due() IS
    'Whether fpdb.compact() is worth its time: a fiftieth of the landmarks are not packed, tiers wait to be merged, or three tenths of one are dead.';

CREATE OR REPLACE FUNCTION fpdb.check_index() RETURNS TABLE (run_id int, problem text, asset_ids bigint[])
LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
    WITH packed AS MATERIALIZED (
        SELECT p.run_id, p.key, p.entries, r.tier_id, r.first_block, r.block_bits, r.residual_bits
        FROM fpdb.posting p LEFT JOIN fpdb.run r USING (run_id)
    ),
    counted AS (
        SELECT p.tier_id, ((e.entry >> 14) & ((1 << p.block_bits) - 1)) + p.first_block AS block, count(*) AS postings
        FROM packed p CROSS JOIN LATERAL unnest(p.entries) AS e (entry)
        WHERE p.block_bits IS NOT NULL AND e.entry IS NOT NULL
        GROUP BY 1, 2
    )
    SELECT p.run_id, 'postings of a run that does not exist', NULL::bigint[]
    FROM packed p WHERE p.block_bits IS NULL GROUP BY p.run_id
    UNION ALL
    SELECT p.run_id, 'a row of postings is out of order',
        (SELECT array_agg(DISTINCT b.asset_id) FROM fpdb.block b WHERE b.tier_id = p.tier_id)
    FROM packed p
    WHERE p.block_bits IS NOT NULL AND (p.entries IS DISTINCT FROM ARRAY(SELECT e FROM unnest(p.entries) AS e ORDER BY e)
        OR p.entries[cardinality(p.entries)] >> (p.block_bits + 14) >= 1 << p.residual_bits
        OR p.entries[1] < 0 OR array_position(p.entries, NULL) IS NOT NULL)
    GROUP BY p.run_id, p.tier_id
    UNION ALL
    SELECT (SELECT max(r.run_id) FROM fpdb.run r WHERE r.tier_id = b.tier_id), 'postings of assets are missing',
        array_agg(DISTINCT b.asset_id ORDER BY b.asset_id)
    FROM fpdb.block b LEFT JOIN counted c USING (tier_id, block)
    WHERE b.postings <> coalesce(c.postings, 0)
    GROUP BY b.tier_id
$$;
COMMENT ON FUNCTION fpdb.check_index() IS
    'Reads the whole packed index and says what is damaged, no row if nothing is: the run, the problem, and the assets it concerns, which SELECT fpdb.reprocess(asset_ids) fingerprints again. A minute for some 50 million postings.';
