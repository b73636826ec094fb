-- What it answers: how the newest landmarks are packed, when it is time, and whether what was packed is whole.
-- Who calls it: workers, `fpdb ingest`, fpdb.index_status, people.
-- What must be true: what is packed is what 25_index.sql reads; a search is right before, meanwhile and after.

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

CREATE OR REPLACE FUNCTION fpdb.compaction_is_due() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    -- The delta is counted no further than matters: it may be long, and workers ask every minute.
    SELECT EXISTS (SELECT FROM fpdb.delta OFFSET greatest(100000, b.postings / 50))
        OR r.postings - b.postings > greatest(100000, r.postings * 0.3)
    FROM (SELECT coalesce(sum(postings), 0)::bigint AS postings FROM fpdb.run) r,
        (SELECT coalesce(sum(postings), 0)::bigint AS postings FROM fpdb.block) b
$$;
COMMENT ON FUNCTION fpdb.compaction_is_due() IS
    'Whether fpdb.compact() is worth its time: a fiftieth of the landmarks are not packed, or three tenths of those packed are dead.';

CREATE OR REPLACE FUNCTION fpdb.check_index() RETURNS TABLE (run_id int, problem text, asset_ids bigint[])
LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
    WITH packed AS MATERIALIZED (
        SELECT p.run_id, p.key, p.entries, r.block_bits, r.residual_bits, r.blocks
        FROM fpdb.posting p LEFT JOIN fpdb.run r USING (run_id)
    ),
    counted AS (
        SELECT p.run_id, (e.entry >> 14) & ((1 << p.block_bits) - 1) AS block, count(*) AS postings
        FROM packed p CROSS JOIN LATERAL unnest(p.entries) AS e (entry)
        WHERE p.block_bits IS NOT NULL AND e.entry IS NOT NULL
        GROUP BY 1, 2
    )
    SELECT p.run_id, 'postings of a run that does not exist', NULL::bigint[]
    FROM packed p WHERE p.block_bits IS NULL GROUP BY p.run_id
    UNION ALL
    SELECT p.run_id, 'a row of postings is out of order',
        (SELECT array_agg(DISTINCT b.asset_id) FROM fpdb.block b WHERE b.run_id = p.run_id)
    FROM packed p
    WHERE p.block_bits IS NOT NULL AND (p.entries IS DISTINCT FROM ARRAY(SELECT e FROM unnest(p.entries) AS e ORDER BY e)
        OR p.entries[cardinality(p.entries)] >> (p.block_bits + 14) >= 1 << p.residual_bits
        OR p.entries[1] < 0 OR array_position(p.entries, NULL) IS NOT NULL)
    GROUP BY p.run_id
    UNION ALL
    SELECT b.run_id, 'postings of assets are missing', array_agg(DISTINCT b.asset_id ORDER BY b.asset_id)
    FROM fpdb.block b LEFT JOIN counted c USING (run_id, block)
    WHERE b.postings <> coalesce(c.postings, 0)
    GROUP BY b.run_id
$$;
COMMENT ON FUNCTION fpdb.check_index() IS
    'Reads the whole packed index and says what is damaged, no row if nothing is: the run, the problem, and the assets it concerns, which SELECT fpdb.reprocess(asset_ids) fingerprints again. A minute for some 50 million postings.';
