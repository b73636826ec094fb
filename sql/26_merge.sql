-- What it answers: how tiers of packed landmarks become one, a range of hashes at a time.
-- Who calls it: fpdb.compact, which lets one session do this at a time.
-- What must be true: after each transaction, every live landmark is in exactly one run of its tier.

CREATE OR REPLACE FUNCTION fpdb.run_shape(
    blocks int, postings bigint, OUT block_bits smallint, OUT residual_bits smallint
)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    -- 96 entries a key, and up to twice as many: 4.7 bytes a posting; 5.2 with half.
    SELECT s.bits, least(17 - s.bits, (
        SELECT coalesce(min(n), 24) FROM generate_series(0, 24) AS n WHERE 96::bigint << (24 - n) <= run_shape.postings))
    FROM (SELECT min(n) AS bits FROM generate_series(0, 17) AS n WHERE run_shape.blocks <= 1 << n) s
$$;
COMMENT ON FUNCTION fpdb.run_shape(int, bigint) IS
    'How the 31 bits of an entry are shared by hash and block in a run of so many blocks (at most 2^17) and postings.';

CREATE OR REPLACE FUNCTION fpdb.mergeable_tiers(
    busy int[] DEFAULT '{}', OUT profile_id smallint, OUT tiers int[]
)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
    -- Every tier is to hold more than three times all smaller ones together, so that few are asked; and
    -- what is three tenths dead is written again. A block's number must fit an entry beside 14 bits of frame.
    WITH alive AS (
        SELECT t.tier_id, t.profile_id, r.postings, r.blocks, coalesce(b.postings, 0)::bigint AS alive
        FROM fpdb.tier t JOIN fpdb.run r USING (tier_id) LEFT JOIN (
            SELECT b.tier_id, sum(b.postings) AS postings FROM fpdb.block b GROUP BY b.tier_id
        ) b USING (tier_id)
        WHERE t.tier_id <> ALL (busy)
    ),
    ascending AS (
        SELECT *, row_number() OVER by_size AS place, sum(alive) OVER by_size AS together,
            sum(blocks) OVER by_size AS blocks_together
        FROM alive
        WINDOW by_size AS (PARTITION BY profile_id ORDER BY alive, tier_id)
    ),
    due AS (
        SELECT profile_id, max(place) AS places FROM ascending
        WHERE place > 1 AND alive <= 3 * (together - alive) AND blocks_together <= 1 << 17
        GROUP BY profile_id
    )
    SELECT a.profile_id, array_agg(a.tier_id)
    FROM ascending a LEFT JOIN due d USING (profile_id)
    WHERE (a.place <= d.places OR (d.places IS NULL AND a.alive <= 0.7 * a.postings))
    GROUP BY a.profile_id, CASE WHEN d.places IS NULL THEN a.tier_id END
    ORDER BY count(*) DESC LIMIT 1
$$;
COMMENT ON FUNCTION fpdb.mergeable_tiers(int[]) IS
    'The tiers of a profile that are worth merging, or one that is worth writing again without what is dead; NULL where none is. Those in `busy` are left alone.';

CREATE OR REPLACE FUNCTION fpdb.begin_merge(OUT tier_id int, INOUT busy int[] DEFAULT '{}') RETURNS record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    new_profile smallint;
    sources int[];
    contested int[];
    first int;
    last int;
    alive_postings bigint;
BEGIN
    SELECT m.profile_id, m.tiers INTO new_profile, sources FROM fpdb.mergeable_tiers(busy) m;
    IF sources IS NULL THEN
        RETURN;
    END IF;
    -- A tier of which someone is deleting a block is left for the next time: we wait for nobody.
    BEGIN
        WITH free AS MATERIALIZED (
            SELECT b.tier_id FROM fpdb.block b WHERE b.tier_id = ANY (sources) FOR UPDATE SKIP LOCKED
        )
        SELECT array_agg(b.tier_id) INTO contested
        FROM (SELECT b.tier_id, count(*) AS blocks FROM fpdb.block b WHERE b.tier_id = ANY (sources) GROUP BY 1) b
        LEFT JOIN (SELECT f.tier_id, count(*) AS blocks FROM free f GROUP BY 1) f USING (tier_id)
        WHERE b.blocks IS DISTINCT FROM f.blocks;
        IF contested IS NOT NULL THEN
            RAISE SQLSTATE 'FP001';
        END IF;
    EXCEPTION WHEN SQLSTATE 'FP001' THEN
        busy := busy || contested;
        SELECT m.tier_id, m.busy INTO tier_id, busy FROM fpdb.begin_merge(busy) m;
        RETURN;
    END;
    INSERT INTO fpdb.tier (profile_id, assets, blocks, created_at)
    SELECT new_profile, (SELECT count(DISTINCT b.asset_id) FROM fpdb.block b WHERE b.tier_id = ANY (sources)),
        sum(r.blocks), min(t.created_at)
    FROM fpdb.tier t JOIN fpdb.run r USING (tier_id) WHERE t.tier_id = ANY (sources)
    RETURNING tier.tier_id INTO tier_id;
    -- The blocks are numbered through, so that all runs of the tier speak of one numbering; oldest first,
    -- so that the numbers of a collection that forgets its oldest recordings are given back.
    WITH moved AS MATERIALIZED (
        SELECT r.run_id, r.tier_id, r.first_block,
            (sum(r.blocks) OVER (ORDER BY t.created_at, t.tier_id) - r.blocks)::int AS new_first
        FROM fpdb.tier t JOIN fpdb.run r USING (tier_id) WHERE t.tier_id = ANY (sources)
    ),
    numbered AS (
        UPDATE fpdb.block b SET tier_id = begin_merge.tier_id, block = b.block - m.first_block + m.new_first
        FROM moved m WHERE b.tier_id = m.tier_id
        RETURNING b.block, b.postings
    ),
    run AS (
        UPDATE fpdb.run r SET tier_id = begin_merge.tier_id, first_block = m.new_first
        FROM moved m WHERE r.run_id = m.run_id
    )
    SELECT min(block), max(block), sum(postings) INTO first, last, alive_postings FROM numbered;
    DELETE FROM fpdb.tier t WHERE t.tier_id = ANY (sources);
    INSERT INTO fpdb.run (tier_id, first_block, blocks, block_bits, residual_bits, postings, merged_to)
    SELECT tier_id, coalesce(first, 0), coalesce(last - first + 1, 0), s.block_bits, s.residual_bits, 0, 0
    FROM fpdb.run_shape(coalesce(last - first + 1, 0), coalesce(alive_postings, 0)) s;
END
$$;
COMMENT ON FUNCTION fpdb.begin_merge(int[]) IS
    'Makes the tiers that are worth merging one tier with a further, empty run, and returns it, or NULL where none is; tiers in `busy` are left out, and those that someone is deleting from join them.';

CREATE OR REPLACE FUNCTION fpdb.advance_merge(tier_id int, max_postings bigint, part_postings bigint DEFAULT 1 << 20)
RETURNS TABLE (written bigint, is_complete boolean)
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
    target fpdb.run;
    source fpdb.run;
    alive boolean[]; -- of each block number that the target may hold
    step int;        -- mixed hashes that are merged at once
    hash int;
    packed bigint;
    gone bigint;
BEGIN
    SELECT * INTO target FROM fpdb.run r WHERE r.tier_id = advance_merge.tier_id AND r.merged_to IS NOT NULL;
    alive := ARRAY(
        SELECT b.block IS NOT NULL
        FROM generate_series(target.first_block, target.first_block + target.blocks - 1) AS n (block)
        LEFT JOIN (SELECT b.block FROM fpdb.block b WHERE b.tier_id = advance_merge.tier_id) b USING (block)
        ORDER BY n.block
    );
    SELECT 1 << greatest(max(r.residual_bits),
        (SELECT coalesce(max(n), 0) FROM generate_series(0, 24) AS n
            WHERE sum(r.postings) <= part_postings << (24 - n)))
    INTO step FROM fpdb.run r WHERE r.tier_id = advance_merge.tier_id;
    hash := target.merged_to;
    written := 0;
    WHILE hash < 1 << 24 AND (max_postings IS NULL OR written < max_postings) LOOP
        WITH source AS (
            SELECT r.run_id, r.residual_bits, r.block_bits + 14 AS shift, (1 << r.block_bits) - 1 AS block_mask,
                r.first_block - target.first_block AS ahead,
                hash >> r.residual_bits AS first_key, (hash + step - 1) >> r.residual_bits AS last_key
            FROM fpdb.run r WHERE r.tier_id = advance_merge.tier_id AND r.run_id <> target.run_id
        ),
        made AS (
            INSERT INTO fpdb.posting (run_id, key, entries)
            SELECT target.run_id, key, array_agg(entry ORDER BY entry)
            FROM (
                SELECT e.mixed >> target.residual_bits AS key,
                    ((e.mixed & ((1 << target.residual_bits) - 1)) << (target.block_bits + 14))
                        | (e.number << 14) | e.frame AS entry
                FROM (
                    SELECT (p.key << p.residual_bits) | (p.entry >> p.shift) AS mixed,
                        ((p.entry >> 14) & p.block_mask) + p.ahead AS number, p.entry & 16383 AS frame
                    FROM (
                        SELECT s.*, p.key, unnest(p.entries) AS entry
                        FROM source s CROSS JOIN LATERAL (
                            SELECT * FROM fpdb.posting p
                            WHERE p.run_id = s.run_id AND p.key BETWEEN s.first_key AND s.last_key OFFSET 0) p
                    ) p
                ) e
                WHERE alive[e.number + 1]
            ) e
            GROUP BY key
            RETURNING cardinality(entries) AS entries
        )
        SELECT coalesce(sum(entries), 0) INTO packed FROM made;
        FOR source IN
            SELECT r.* FROM fpdb.run r WHERE r.tier_id = advance_merge.tier_id AND r.run_id <> target.run_id
        LOOP
            WITH old AS (
                DELETE FROM fpdb.posting p WHERE p.run_id = source.run_id
                    AND p.key BETWEEN hash >> source.residual_bits AND (hash + step - 1) >> source.residual_bits
                RETURNING cardinality(p.entries) AS entries
            )
            SELECT coalesce(sum(entries), 0) INTO gone FROM old;
            UPDATE fpdb.run r SET postings = r.postings - gone WHERE r.run_id = source.run_id;
        END LOOP;
        hash := hash + step;
        written := written + packed;
    END LOOP;
    is_complete := hash >= 1 << 24;
    UPDATE fpdb.run r SET postings = r.postings + written, merged_to = CASE WHEN NOT is_complete THEN hash END
    WHERE r.run_id = target.run_id;
    IF is_complete THEN
        DELETE FROM fpdb.run r WHERE r.tier_id = advance_merge.tier_id AND (r.run_id <> target.run_id OR r.blocks = 0);
        DELETE FROM fpdb.tier t WHERE t.tier_id = advance_merge.tier_id AND target.blocks = 0;
    END IF;
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION fpdb.advance_merge(int, bigint, bigint) IS
    'Moves the landmarks of a tier from its older runs to its newest, about part_postings at a time (so many are sorted at once) and max_postings in all, and says how many it wrote and whether the merge is complete.';
