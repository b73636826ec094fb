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
    which smallint := coalesce(model, fpdb.active_model());
    query vector;
    own bigint;
    near bigint[];
    exact bigint[];
    began timestamptz;
    shares float8[] := '{}';
    index_times float8[] := '{}';
    exact_times float8[] := '{}';
BEGIN
    IF which IS NULL OR NOT EXISTS (SELECT FROM fpdb.model m WHERE m.model_id = which) THEN
        RAISE EXCEPTION 'there is no model %', coalesce(model::text, 'active in this database')
            USING HINT = 'SELECT * FROM fpdb.model, or run: fpdb init';
    END IF;
    IF (ef_search BETWEEN 1 AND 1000 AND samples > 0 AND k BETWEEN 1 AND 1000) IS NOT TRUE THEN
        RAISE EXCEPTION 'ef_search and k must lie between 1 and 1000, samples above 0'
            USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
    PERFORM set_config('hnsw.ef_search', ef_search::text, true);
    -- A share of one makes the order of segments the same again.
    PERFORM setseed(greatest(-1, least(1, seed)));
    vectors := (SELECT count(*) FROM fpdb.embedding e WHERE e.model_id = which);
    FOR own, query IN
        SELECT e.segment_id, e.embedding
        FROM (SELECT e.segment_id FROM fpdb.embedding e WHERE e.model_id = which ORDER BY e.segment_id) o
        JOIN fpdb.embedding e ON e.model_id = which AND e.segment_id = o.segment_id
        ORDER BY random() LIMIT samples
    LOOP
        -- A vector finds itself whatever the index is worth: its neighbours are counted.
        began := clock_timestamp();
        near := ARRAY(SELECT n.segment_id FROM (SELECT e.segment_id FROM fpdb.embedding e WHERE e.model_id = which
            ORDER BY e.embedding <=> query LIMIT k + 1) n WHERE n.segment_id <> own LIMIT k);
        index_times := index_times || extract(epoch FROM clock_timestamp() - began)::float8 * 1000;
        began := clock_timestamp();
        exact := ARRAY(SELECT e.segment_id FROM fpdb.embedding e WHERE e.model_id = which AND e.segment_id <> own
            ORDER BY (e.embedding <=> query) + 0 LIMIT k);
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
