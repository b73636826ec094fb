-- What it answers: how many of the truly nearest vectors the HNSW index finds, and at what cost.
-- Who calls it: `fpdb index recall`, people.
-- What must be true: the exact scan orders by an expression that no index serves.

CREATE OR REPLACE FUNCTION fpdb.index_recall(
    ef_search int DEFAULT 40,
    samples int DEFAULT 100,
    k int DEFAULT 10,
    model smallint DEFAULT NULL,
    seed float8 DEFAULT 0
) RETURNS TABLE (recall float8, worst float8, index_ms float8, exact_ms float8, vectors bigint, asked int)
LANGUAGE plpgsql
SET search_path = pg_catalog, @extschema:vector@, pg_temp
SET hnsw.iterative_scan = 'strict_order'
SET hnsw.ef_search = 40
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    which CONSTANT fpdb.model := fpdb.model_named(index_recall.model);
    partition CONSTANT text := 'embedding_' || which.model_id;
    typed CONSTANT text := format('%s(%s)', which.index_type, which.dims);
    query vector;
    own bigint;
    near bigint[];
    exact bigint[];
    began timestamptz;
    shares float8[] := '{}';
    index_times float8[] := '{}';
    exact_times float8[] := '{}';
BEGIN
    IF (ef_search BETWEEN 1 AND 1000 AND samples > 0 AND k BETWEEN 1 AND 1000) IS NOT TRUE THEN
        RAISE EXCEPTION 'ef_search and k must lie between 1 and 1000, samples above 0'
            USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
    PERFORM set_config('hnsw.ef_search', ef_search::text, true);
    -- A share of one makes the order of segments the same again.
    PERFORM setseed(greatest(-1, least(1, seed)));
    vectors := (SELECT count(*) FROM fpdb.embedding e WHERE e.model_id = which.model_id);
    FOR own, query IN
        SELECT e.segment_id, e.embedding
        FROM (SELECT e.segment_id FROM fpdb.embedding e WHERE e.model_id = which.model_id ORDER BY e.segment_id) o
        JOIN fpdb.embedding e ON e.model_id = which.model_id AND e.segment_id = o.segment_id
        ORDER BY random() LIMIT samples
    LOOP
        -- A vector finds itself whatever the index is worth: its neighbours are counted.
        began := clock_timestamp();
        EXECUTE format('SELECT ARRAY(SELECT n.segment_id FROM (
                SELECT e.segment_id FROM fpdb.%1$I e ORDER BY e.embedding::%2$s <=> $1::%2$s LIMIT $3 + 1
            ) n WHERE n.segment_id <> $2 LIMIT $3)', partition, typed)
        INTO near USING query, own, k;
        index_times := index_times || extract(epoch FROM clock_timestamp() - began)::float8 * 1000;
        began := clock_timestamp();
        EXECUTE format('SELECT ARRAY(SELECT e.segment_id FROM fpdb.%I e WHERE e.segment_id <> $2
            ORDER BY (e.embedding <=> $1) + 0 LIMIT $3)', partition)
        INTO exact USING query, own, k;
        exact_times := exact_times || extract(epoch FROM clock_timestamp() - began)::float8 * 1000;
        CONTINUE WHEN exact = '{}';
        shares := shares || (SELECT count(*) FROM unnest(near) AS n (id) WHERE id = ANY (exact))::float8
            / cardinality(exact);
    END LOOP;
    asked := cardinality(shares);
    recall := (SELECT avg(s) FROM unnest(shares) s);
    worst := (SELECT min(s) FROM unnest(shares) s);
    index_ms := (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY t) FROM unnest(index_times) t);
    exact_ms := (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY t) FROM unnest(exact_times) t);
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION fpdb.index_recall(int, int, int, smallint, float8) IS
    'Of the k nearest neighbours of `samples` stored vectors of a model, the share that its HNSW index finds with an ef_search (mean and worst), and the median milliseconds of the index and of an exact scan. The same seed asks the same vectors.';

CREATE OR REPLACE FUNCTION fpdb.compare_models(
    model smallint, other smallint DEFAULT NULL, samples int DEFAULT 200, k int DEFAULT 10, seed float8 DEFAULT 0
) RETURNS TABLE (agreement float8, same_first float8, asked int)
LANGUAGE plpgsql
SET search_path = pg_catalog, @extschema:vector@, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    one CONSTANT smallint := (fpdb.model_named(compare_models.model)).model_id;
    two CONSTANT smallint := (fpdb.model_named(compare_models.other)).model_id;
BEGIN
    IF (samples > 0 AND k BETWEEN 1 AND 1000) IS NOT TRUE THEN
        RAISE EXCEPTION 'k must lie between 1 and 1000, samples above 0'
            USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
    PERFORM setseed(greatest(-1, least(1, seed)));
    RETURN QUERY
    WITH sample AS MATERIALIZED (
        SELECT e.asset_id, e.embedding AS by_first, o.embedding AS by_second
        FROM fpdb.embedding e JOIN fpdb.embedding o ON o.model_id = two AND o.segment_id = e.segment_id
        WHERE e.model_id = one ORDER BY random() LIMIT samples
    ),
    -- Which assets each model takes to sound like a segment, the segment's own apart.
    named AS (
        SELECT ARRAY(SELECT n.asset_id FROM fpdb.nearest_segments(s.by_first, 5 * k, one, exclude_asset => s.asset_id) n
                GROUP BY n.asset_id ORDER BY max(n.similarity) DESC LIMIT k) AS by_one,
            ARRAY(SELECT n.asset_id FROM fpdb.nearest_segments(s.by_second, 5 * k, two, exclude_asset => s.asset_id) n
                GROUP BY n.asset_id ORDER BY max(n.similarity) DESC LIMIT k) AS by_two
        FROM sample s
    )
    SELECT avg((SELECT count(*) FROM unnest(n.by_one) AS a (id) WHERE a.id = ANY (n.by_two))::float8
            / greatest(cardinality(n.by_one), cardinality(n.by_two), 1)),
        avg(coalesce(n.by_one[1] = n.by_two[1], false)::int)::float8, count(*)::int
    FROM named n WHERE cardinality(n.by_one) + cardinality(n.by_two) > 0;
END
$$;
COMMENT ON FUNCTION fpdb.compare_models(smallint, smallint, int, int, float8) IS
    'How far two models (other: the active one) agree on what sounds alike: for `samples` stored segments that both know, the share of the k other assets each names that both name, and the share of segments where they name the same one first.';
