-- What it answers: which moments of stored recordings a vector describes.
-- Who calls it: `fpdb search`, workers for questions in words, people.
-- What must be true: segments that touch are one moment, however many are near.

CREATE OR REPLACE FUNCTION fpdb.nearest_moments(
    query vector,
    k int DEFAULT 10,
    model smallint DEFAULT NULL,
    min_similarity float8 DEFAULT NULL,
    collection text DEFAULT NULL,
    content_type text DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    exclude_asset bigint DEFAULT NULL,
    min_duration_sec float8 DEFAULT NULL,
    max_duration_sec float8 DEFAULT NULL
) RETURNS TABLE (asset_id bigint, start_sec float8, end_sec float8, similarity float8, segments int)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 10
SET search_path = pg_catalog, @extschema:vector@, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    wanted int := 4 * least(k, 1000);
    found int;
    assets bigint[];
    starts float8[];
    ends float8[];
    similarities float8[];
    counts int[];
BEGIN
    IF k NOT BETWEEN 0 AND 1000 THEN
        RAISE EXCEPTION 'k must lie between 0 and 1,000, not %', k USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
    LOOP
        WITH near AS MATERIALIZED (
            SELECT n.*, n.start_time_sec > coalesce(max(n.end_time_sec) OVER (PARTITION BY n.asset_id
                ORDER BY n.start_time_sec ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), '-infinity') AS is_first
            FROM fpdb.nearest_segments(query, wanted, model, min_similarity, nearest_moments.collection,
                nearest_moments.content_type, nearest_moments.metadata, exclude_asset, min_duration_sec,
                max_duration_sec) n
        ),
        moment AS (
            SELECT n.asset_id, min(n.start_time_sec) AS start_sec, max(n.end_time_sec) AS end_sec,
                max(n.similarity) AS similarity, count(*) AS segments
            FROM (SELECT n.*, sum(n.is_first::int) OVER (PARTITION BY n.asset_id ORDER BY n.start_time_sec) AS moment
                FROM near n) n
            GROUP BY n.asset_id, n.moment
        )
        SELECT (SELECT count(*) FROM near), array_agg(m.asset_id), array_agg(m.start_sec), array_agg(m.end_sec),
            array_agg(m.similarity), array_agg(m.segments)
        INTO found, assets, starts, ends, similarities, counts
        FROM moment m;
        -- Neighbouring segments are one moment, so k moments may take more than 4 k segments.
        EXIT WHEN coalesce(cardinality(assets), 0) >= k OR found < wanted OR wanted >= 64 * k;
        wanted := wanted * 4;
    END LOOP;
    RETURN QUERY
    SELECT * FROM unnest(assets, starts, ends, similarities, counts)
        AS m (asset_id, start_sec, end_sec, similarity, segments)
    ORDER BY m.similarity DESC, m.asset_id, m.start_sec
    LIMIT k;
END
$$;
COMMENT ON FUNCTION fpdb.nearest_moments(vector, int, smallint, float8, text, text, jsonb, bigint, float8, float8) IS
    'The k moments that are nearest to a vector (of a sentence, say): near segments of an asset that touch are one, as similar as the most similar of them. The arguments are those of fpdb.nearest_segments.';
