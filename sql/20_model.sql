-- What it answers: which model is in force.
-- Who calls it: `fpdb init` registers them; workers and searches ask for the active one.
-- What must be true: at most one model is active; a model has its partition and index.

CREATE OR REPLACE FUNCTION fpdb.register_model(
    name text, revision text, source text, dims int, sample_rate int,
    confidence_intercept float8 DEFAULT NULL, confidence_slope float8 DEFAULT NULL
) RETURNS smallint
LANGUAGE plpgsql
SET search_path = pg_catalog, @extschema:vector@, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    id smallint;
    partition text;
BEGIN
    INSERT INTO fpdb.model AS m (name, revision, source, dims, sample_rate, confidence_intercept, confidence_slope)
    VALUES (register_model.name, register_model.revision, register_model.source, register_model.dims,
        register_model.sample_rate, register_model.confidence_intercept, register_model.confidence_slope)
    ON CONFLICT (name, revision) DO UPDATE SET source = excluded.source
    RETURNING model_id INTO id;
    partition := 'embedding_' || id;
    IF to_regclass('fpdb.' || partition) IS NULL THEN
        EXECUTE format('CREATE TABLE fpdb.%I PARTITION OF fpdb.embedding FOR VALUES IN (%s)', partition, id);
        EXECUTE format('CREATE INDEX %I ON fpdb.%I USING hnsw (embedding vector_cosine_ops)',
            partition || '_hnsw_idx', partition);
        EXECUTE format('COMMENT ON TABLE fpdb.%I IS %L', partition, 'Vectors of model ' || register_model.name || '.');
    END IF;
    RETURN id;
END
$$;
COMMENT ON FUNCTION fpdb.register_model(text, text, text, int, int, float8, float8) IS
    'Makes a model known, with a partition and an HNSW index of its own, and returns its key.';

CREATE OR REPLACE FUNCTION fpdb.activate_model(model_id smallint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM fpdb.model m WHERE m.model_id = activate_model.model_id) THEN
        RAISE EXCEPTION 'there is no model %', model_id USING HINT = 'SELECT * FROM fpdb.model';
    END IF;
    IF model_id = fpdb.active_model() THEN
        RETURN; -- What lacks its vectors was queued when it became active.
    END IF;
    UPDATE fpdb.model m SET state = 'shadow' WHERE m.state = 'active' AND m.model_id <> activate_model.model_id;
    UPDATE fpdb.model m SET state = 'active' WHERE m.state <> 'active' AND m.model_id = activate_model.model_id;
    -- What has no vector of this model yet is queued; what has one is not computed again.
    UPDATE fpdb.asset a SET embedding_revision = embedding_revision + 1
    WHERE a.embedding_status <> 'queued' AND NOT EXISTS (
        SELECT FROM fpdb.embedding e WHERE e.asset_id = a.asset_id AND e.model_id = activate_model.model_id);
END
$$;
COMMENT ON FUNCTION fpdb.activate_model(smallint) IS
    'Makes a model the one that is searched and filled, and queues every asset that has no vector of it.';

CREATE OR REPLACE FUNCTION fpdb.active_model() RETURNS smallint
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT model_id FROM fpdb.model WHERE state = 'active'
$$;
COMMENT ON FUNCTION fpdb.active_model() IS 'The key of the active model; NULL where none is.';
