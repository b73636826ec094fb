-- What it answers: which profile and which model are in force.
-- Who calls it: `fpdb init` and `fpdb migrate` register them; workers and searches ask for the active ones.
-- What must be true: at most one profile and one model are active; a model has its partition and index.

CREATE OR REPLACE FUNCTION fpdb.register_profile(name text, digest text, parameters jsonb) RETURNS smallint
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO fpdb.profile (name, digest, parameters, is_active)
    VALUES (name, digest, parameters, NOT EXISTS (SELECT FROM fpdb.profile WHERE is_active))
    ON CONFLICT (digest) DO UPDATE SET name = excluded.name
    RETURNING profile_id
$$;
COMMENT ON FUNCTION fpdb.register_profile(text, text, jsonb) IS
    'Makes a profile known and returns its key; the first one becomes the active one.';

CREATE OR REPLACE FUNCTION fpdb.require_profile(digest text) RETURNS smallint
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    active fpdb.profile;
BEGIN
    SELECT * INTO active FROM fpdb.profile p WHERE p.is_active;
    IF active IS NULL THEN
        RAISE EXCEPTION 'no landmark profile is active in this database' USING HINT = 'run: fpdb init';
    END IF;
    IF digest IS DISTINCT FROM active.digest THEN
        RAISE EXCEPTION 'the query was made with profile %, the landmarks here with %', digest, active.digest
            USING HINT = format('use a program with that profile, or move the database to this one:'
                ' SELECT fpdb.activate_profile(%L)', digest),
                ERRCODE = 'data_exception';
    END IF;
    RETURN active.profile_id;
END
$$;
COMMENT ON FUNCTION fpdb.require_profile(text) IS
    'Returns the active profile''s key, or raises an error when a query brings another digest.';

CREATE OR REPLACE FUNCTION fpdb.activate_profile(digest text) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    chosen smallint := (SELECT p.profile_id FROM fpdb.profile p WHERE p.digest = activate_profile.digest);
    queued bigint;
BEGIN
    IF chosen IS NULL THEN
        RAISE EXCEPTION 'no program has brought a profile %', digest
            USING HINT = 'run `fpdb migrate` with the program that has it';
    END IF;
    UPDATE fpdb.profile p SET is_active = false WHERE p.is_active AND p.profile_id <> chosen;
    UPDATE fpdb.profile p SET is_active = true WHERE NOT p.is_active AND p.profile_id = chosen;
    UPDATE fpdb.asset a SET landmark_revision = landmark_revision + 1
    WHERE a.profile_id IS DISTINCT FROM chosen AND a.landmark_status <> 'queued';
    GET DIAGNOSTICS queued = ROW_COUNT;
    RETURN queued;
END
$$;
COMMENT ON FUNCTION fpdb.activate_profile(text) IS
    'Makes a profile the one that is searched, queues every asset whose landmarks are of another, and returns how many.';

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
