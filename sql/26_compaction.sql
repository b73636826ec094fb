-- What it answers: is it time to pack the index, and is what was packed whole.
-- Who calls it: workers, `fpdb ingest`, fpdb.index_status; people call fpdb.check_index.
-- What must be true: nothing here writes; fpdb.compact() does.

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
