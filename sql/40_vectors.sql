-- What it answers: which stored segments sound like a vector, a segment, an asset, or the windows of a clip.
-- Who calls it: fpdb.match, and people.
-- What must be true: a vector is compared with vectors of its own model only; the LIMIT stands on the bare distance.

CREATE OR REPLACE FUNCTION fpdb.assets_in_scope(
    collection text, content_type text, metadata jsonb, min_duration_sec float8, max_duration_sec float8
) RETURNS TABLE (asset_id bigint)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    -- A body that is parsed here and now is inlined, so that an index of the asset's may serve.
    SELECT a.asset_id FROM fpdb.asset a
    WHERE (assets_in_scope.collection IS NULL OR a.collection = assets_in_scope.collection)
        AND (assets_in_scope.content_type IS NULL OR a.content_type = assets_in_scope.content_type)
        AND (assets_in_scope.metadata IS NULL OR a.metadata @> assets_in_scope.metadata)
        AND (min_duration_sec IS NULL OR a.duration_sec >= min_duration_sec)
        AND (max_duration_sec IS NULL OR a.duration_sec <= max_duration_sec);
END;
COMMENT ON FUNCTION fpdb.assets_in_scope(text, text, jsonb, float8, float8) IS
    'The assets that filters leave; NULL does not narrow.';

CREATE OR REPLACE FUNCTION fpdb.nearest_segments(
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
) RETURNS TABLE (
    segment_id bigint, asset_id bigint, segment_index int,
    start_time_sec float8, end_time_sec float8, similarity float8
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 10
SET search_path = pg_catalog, @extschema:vector@, pg_temp
SET hnsw.iterative_scan = 'strict_order'
SET hnsw.ef_search = 40
AS $$
#variable_conflict use_column
DECLARE
    -- Assets whose vectors are compared one by one, 47 each in 0.05 ms: sooner than a scan of the graph
    -- finds that nearly all it meets is filtered out, and exact.
    few CONSTANT int := 1000;
    which CONSTANT fpdb.model := fpdb.model_named(nearest_segments.model);
    narrowed boolean := num_nonnulls(collection, content_type, metadata, min_duration_sec, max_duration_sec) > 0;
    assets bigint[];
    segments bigint[];
    distances float8[];
BEGIN
    IF k NOT BETWEEN 0 AND 100000 THEN
        RAISE EXCEPTION 'k must lie between 0 and 100,000, not %', k USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
    -- What has no direction is near to nothing.
    IF query IS NULL OR vector_norm(query) = 0 THEN
        RETURN;
    END IF;
    IF vector_dims(query) <> which.dims THEN
        RAISE EXCEPTION 'the vector has % dimensions, those of model % have %', vector_dims(query), which.name, which.dims
            USING ERRCODE = 'data_exception', HINT = 'name the model that made it';
    END IF;
    IF narrowed THEN
        assets := ARRAY(SELECT s.asset_id FROM fpdb.assets_in_scope(nearest_segments.collection,
            nearest_segments.content_type, nearest_segments.metadata, min_duration_sec, max_duration_sec) s
            WHERE s.asset_id IS DISTINCT FROM exclude_asset LIMIT few + 1);
    END IF;
    IF NOT narrowed OR cardinality(assets) > few THEN
        -- The scan of the graph looks at ef_search vectors, and k must be among them; the function's
        -- own SET clause gives the caller's value back. Of 10 true neighbours among 100,000 vectors 40
        -- find 76 % in 2 ms, 200 find 97 % in 6 (benchmarks.vectors).
        PERFORM set_config('hnsw.ef_search', greatest(200, least(1000, 4 * k))::text, true);
        -- The index of a partition serves an expression that says its type and length.
        EXECUTE format('
            SELECT array_agg(n.segment_id), array_agg(n.distance)
            FROM (
                SELECT e.segment_id, e.embedding <=> $1 AS distance
                FROM fpdb.%1$I e
                WHERE ($3 IS NULL OR e.asset_id <> $3) %2$s
                ORDER BY e.embedding::%3$s(%4$s) <=> l2_normalize($1)::%3$s(%4$s)
                LIMIT $2
            ) n',
            'embedding_' || which.model_id,
            CASE WHEN narrowed THEN 'AND EXISTS (SELECT FROM fpdb.assets_in_scope($4, $5, $6, $7, $8) s
                WHERE s.asset_id = e.asset_id)' END,
            which.index_type, which.dims)
        INTO segments, distances
        USING query, k, exclude_asset, nearest_segments.collection, nearest_segments.content_type,
            nearest_segments.metadata, min_duration_sec, max_duration_sec;
        -- Where a filter lets little through, the scan gave up (hnsw.max_scan_tuples) before it found k.
        IF narrowed AND coalesce(cardinality(segments), 0) < k THEN
            assets := ARRAY(SELECT s.asset_id FROM fpdb.assets_in_scope(nearest_segments.collection,
                nearest_segments.content_type, nearest_segments.metadata, min_duration_sec, max_duration_sec) s
                WHERE s.asset_id IS DISTINCT FROM exclude_asset);
            segments := NULL;
        END IF;
    END IF;
    IF segments IS NULL AND narrowed THEN
        SELECT array_agg(n.segment_id), array_agg(n.distance) INTO segments, distances
        FROM (
            SELECT e.segment_id, e.embedding <=> query AS distance
            FROM unnest(assets) AS s (asset_id)
            CROSS JOIN LATERAL (
                SELECT * FROM fpdb.embedding e WHERE e.model_id = which.model_id AND e.asset_id = s.asset_id OFFSET 0) e
            ORDER BY 2
            LIMIT k
        ) n;
    END IF;
    RETURN QUERY
    SELECT s.segment_id, s.asset_id, s.segment_index, s.start_time_sec, s.end_time_sec, 1 - n.distance
    FROM unnest(segments, distances) AS n (segment_id, distance)
    JOIN fpdb.segment s ON s.segment_id = n.segment_id
    WHERE n.distance <> 'NaN' AND (min_similarity IS NULL OR 1 - n.distance >= min_similarity)
    ORDER BY n.distance, n.segment_id;
END
$$;
COMMENT ON FUNCTION fpdb.nearest_segments(vector, int, smallint, float8, text, text, jsonb, bigint, float8, float8) IS
    'The k stored segments whose vectors of a model (default: the active one) are nearest to a vector, of assets of a collection, content type, metadata and duration where given; similarity is the cosine, 1 for the same. As many rows as there are where a filter leaves k or more.';

CREATE OR REPLACE FUNCTION fpdb.similar_segments(
    segment_id bigint,
    k int DEFAULT 10,
    min_similarity float8 DEFAULT NULL,
    collection text DEFAULT NULL,
    content_type text DEFAULT NULL,
    metadata jsonb DEFAULT NULL
) RETURNS TABLE (
    similar_segment_id bigint, asset_id bigint, segment_index int,
    start_time_sec float8, end_time_sec float8, similarity float8
)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT n.*
    FROM fpdb.embedding e
    CROSS JOIN LATERAL fpdb.nearest_segments(e.embedding, k, e.model_id, min_similarity,
        similar_segments.collection, similar_segments.content_type, similar_segments.metadata, e.asset_id) n
    WHERE e.segment_id = similar_segments.segment_id AND e.model_id = fpdb.active_model()
$$;
COMMENT ON FUNCTION fpdb.similar_segments(bigint, int, float8, text, text, jsonb) IS
    'The k segments of other assets that sound most like a stored segment, by the active model.';

CREATE OR REPLACE FUNCTION fpdb.similar_assets(
    asset_id bigint,
    k int DEFAULT 10,
    collection text DEFAULT NULL,
    content_type text DEFAULT NULL,
    metadata jsonb DEFAULT NULL
) RETURNS TABLE (similar_asset_id bigint, similarity float8, segments bigint)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
    -- Each segment names its nearest few; an asset counts by how many it is near to, and how near.
    WITH own AS (
        SELECT e.segment_id, e.embedding, e.model_id FROM fpdb.embedding e
        WHERE e.asset_id = similar_assets.asset_id AND e.model_id = fpdb.active_model()
    ),
    named AS (
        SELECT own.segment_id, n.asset_id AS other, max(n.similarity) AS similarity
        FROM own CROSS JOIN LATERAL fpdb.nearest_segments(own.embedding, least(4 * k::bigint, 100000)::int, own.model_id, NULL,
            similar_assets.collection, similar_assets.content_type, similar_assets.metadata,
            similar_assets.asset_id) n
        GROUP BY own.segment_id, n.asset_id
    )
    SELECT other, greatest(0, sum(similarity) / (SELECT count(*) FROM own)), count(*)
    FROM named GROUP BY other
    ORDER BY 2 DESC, other LIMIT k
$$;
COMMENT ON FUNCTION fpdb.similar_assets(bigint, int, text, text, jsonb) IS
    'The k assets that sound most like an asset: mean similarity over its segments (0 where an asset is not among a segment''s nearest), and how many of them name it.';

CREATE OR REPLACE FUNCTION fpdb.match_vectors(
    embeddings vector[],
    segment_starts float8[],
    model smallint DEFAULT NULL,
    k int DEFAULT 10,
    min_confidence float8 DEFAULT NULL,
    collection text DEFAULT NULL,
    content_type text DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    exclude_asset bigint DEFAULT NULL
) RETURNS TABLE (
    asset_id bigint, confidence float8, score float8, offset_sec float8,
    query_start_sec float8, query_end_sec float8, reference_start_sec float8, reference_end_sec float8,
    aligned_segments int, similarity float8
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 10
SET search_path = pg_catalog, @extschema:vector@, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    windows CONSTANT int := cardinality(embeddings);
    which CONSTANT fpdb.model := CASE WHEN cardinality(embeddings) > 0 THEN fpdb.model_named(match_vectors.model) END;
BEGIN
    IF cardinality(embeddings) IS DISTINCT FROM cardinality(segment_starts) THEN
        RAISE EXCEPTION 'embeddings and segment_starts must be arrays of one length, not % and %',
            coalesce(cardinality(embeddings)::text, 'NULL'), coalesce(cardinality(segment_starts)::text, 'NULL')
            USING ERRCODE = 'array_subscript_error';
    END IF;
    RETURN QUERY
    WITH vote AS (
        SELECT q.start_sec, n.asset_id, n.start_time_sec, n.end_time_sec, n.similarity,
            n.start_time_sec - q.start_sec AS offset_sec
        FROM unnest(embeddings, segment_starts) AS q (embedding, start_sec)
        CROSS JOIN LATERAL fpdb.nearest_segments(q.embedding, 20, which.model_id, NULL, match_vectors.collection,
            match_vectors.content_type, match_vectors.metadata, exclude_asset) n
    ),
    -- A clip begins anywhere between two stored windows: votes within one hop speak for one offset.
    line AS (
        SELECT v.asset_id, v.offset_sec, w.start_sec, max(w.similarity) AS similarity,
            min(w.start_time_sec) AS start_time_sec, max(w.end_time_sec) AS end_time_sec
        FROM (SELECT DISTINCT v.asset_id, v.offset_sec FROM vote v) v
        JOIN fpdb.asset a ON a.asset_id = v.asset_id
        JOIN vote w ON w.asset_id = v.asset_id
            AND abs(w.offset_sec - v.offset_sec) <= 0.51 * a.segment_hop_sec
        GROUP BY v.asset_id, v.offset_sec, w.start_sec
    ),
    alignment AS (
        SELECT DISTINCT ON (asset_id) asset_id, offset_sec, count(*)::int AS segments,
            sum(similarity) / windows AS similarity,
            min(start_sec) AS first_sec, max(start_sec) AS last_sec,
            min(start_time_sec) AS reference_start_sec, max(end_time_sec) AS reference_end_sec
        FROM line GROUP BY asset_id, offset_sec
        ORDER BY asset_id, sum(similarity) DESC, offset_sec
    ),
    judged AS (
        SELECT l.*, CASE WHEN which.confidence_intercept IS NULL THEN 0 ELSE 1 / (1 + exp(-greatest(-50, least(50,
            which.confidence_intercept + which.confidence_slope * l.similarity)))) END AS confidence
        FROM alignment l
    )
    SELECT j.asset_id, j.confidence, j.similarity * j.segments, j.offset_sec,
        j.first_sec, j.last_sec + a.segment_duration_sec,
        j.reference_start_sec, j.reference_end_sec, j.segments, j.similarity
    FROM judged j
    JOIN fpdb.asset a ON a.asset_id = j.asset_id
    JOIN fpdb.content_type t ON t.name = a.content_type
    WHERE j.confidence >= coalesce(min_confidence, t.vector_threshold)
    ORDER BY j.confidence DESC, j.similarity DESC, j.asset_id
    LIMIT k;
END
$$;
COMMENT ON FUNCTION fpdb.match_vectors(vector[], float8[], smallint, int, float8, text, text, jsonb, bigint) IS
    'Recordings whose segments sound like a clip''s windows in the same order: vectors with their start in the clip (seconds). similarity is the mean cosine over the windows, 0 where one does not agree; confidence is 0 for a model that is not calibrated.';

CREATE OR REPLACE FUNCTION fpdb.match_models(
    embeddings vector[],
    segment_starts float8[],
    models smallint[],
    k int DEFAULT 10,
    collection text DEFAULT NULL,
    content_type text DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    exclude_asset bigint DEFAULT NULL
) RETURNS TABLE (
    asset_id bigint, confidence float8, score float8, offset_sec float8,
    query_start_sec float8, query_end_sec float8, reference_start_sec float8, reference_end_sec float8,
    aligned_segments int, similarity float8
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 10
SET search_path = pg_catalog, @extschema:vector@, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF cardinality(models) IS DISTINCT FROM cardinality(embeddings)
        OR cardinality(segment_starts) IS DISTINCT FROM cardinality(embeddings) THEN
        RAISE EXCEPTION 'embeddings, segment_starts and models must be arrays of one length, not %, % and %',
            coalesce(cardinality(embeddings)::text, 'NULL'), coalesce(cardinality(segment_starts)::text, 'NULL'),
            coalesce(cardinality(models)::text, 'NULL')
            USING ERRCODE = 'array_subscript_error';
    END IF;
    RETURN QUERY
    WITH asked AS (
        SELECT m.model, array_agg(q.embedding ORDER BY q.number) AS embeddings,
            array_agg(q.start_sec ORDER BY q.number) AS starts
        FROM unnest(embeddings, segment_starts, models) WITH ORDINALITY AS q (embedding, start_sec, model, number)
        CROSS JOIN LATERAL (SELECT coalesce(q.model, fpdb.active_model()) AS model) m
        GROUP BY m.model
    ),
    found AS MATERIALIZED (
        SELECT v.*, a.segment_hop_sec AS hop_sec,
            -- Who asks one model alone means it; beside others, only those that were given weight speak.
            coalesce(w.weight, (q.model = fpdb.active_model() OR (SELECT count(*) = 1 FROM asked))::int) AS weight
        FROM asked q
        CROSS JOIN LATERAL fpdb.match_vectors(q.embeddings, q.starts, q.model, k, 0, match_models.collection,
            match_models.content_type, match_models.metadata, exclude_asset) v
        JOIN fpdb.asset a ON a.asset_id = v.asset_id
        LEFT JOIN fpdb.model_weight w ON w.model_id = q.model AND w.content_type = a.content_type
    ),
    best AS (
        SELECT DISTINCT ON (asset_id) * FROM found WHERE weight > 0
        ORDER BY asset_id, weight * confidence DESC, weight * similarity DESC
    )
    -- Models that hear one place are wrong only if all of them are (noisy-or of what is believed of each).
    SELECT b.asset_id, 1 - exp(sum(ln(1 - least(f.weight * f.confidence, 1 - 1e-9)))), sum(f.weight * f.score),
        b.offset_sec, b.query_start_sec, b.query_end_sec, b.reference_start_sec, b.reference_end_sec,
        b.aligned_segments, sum(f.weight * f.similarity) / sum(f.weight)
    FROM best b
    JOIN found f ON f.asset_id = b.asset_id AND f.weight > 0 AND abs(f.offset_sec - b.offset_sec) <= b.hop_sec
    GROUP BY b.asset_id, b.offset_sec, b.query_start_sec, b.query_end_sec, b.reference_start_sec, b.reference_end_sec,
        b.aligned_segments
    ORDER BY 2 DESC, 3 DESC, 1
    LIMIT k;
END
$$;
COMMENT ON FUNCTION fpdb.match_models(vector[], float8[], smallint[], int, text, text, jsonb, bigint) IS
    'What fpdb.match_vectors finds with each of several models, fused: models names the model of each vector. Confidences weigh as fpdb.model_weight says for the asset''s content type, and are joined where the models point to one place of an asset (noisy-or).';
