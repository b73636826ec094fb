-- What it answers: which model is searched, which are filled beside it, and which are kept.
-- Who calls it: `fpdb init`, `fpdb model`; workers and searches ask for the active one.
-- What must be true: at most one model is active; who changes a state holds the model's row before any asset.

CREATE OR REPLACE FUNCTION fpdb.register_model(
    name text, revision text, source text, dims int, sample_rate int,
    confidence_intercept float8 DEFAULT NULL, confidence_slope float8 DEFAULT NULL, index_type text DEFAULT NULL
) RETURNS smallint
LANGUAGE plpgsql
SET search_path = pg_catalog, @extschema:vector@, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    id smallint;
    partition text;
    former text := (SELECT m.index_type FROM fpdb.model m
        WHERE m.name = register_model.name AND m.revision = register_model.revision);
BEGIN
    INSERT INTO fpdb.model AS m (name, revision, source, dims, sample_rate, confidence_intercept, confidence_slope,
        index_type)
    VALUES (register_model.name, register_model.revision, register_model.source, register_model.dims,
        register_model.sample_rate, register_model.confidence_intercept, register_model.confidence_slope,
        coalesce(register_model.index_type, 'vector'))
    ON CONFLICT (name, revision) DO UPDATE SET source = excluded.source,
        index_type = coalesce(register_model.index_type, m.index_type)
    RETURNING model_id INTO id;
    partition := 'embedding_' || id;
    IF to_regclass('fpdb.' || partition) IS NULL THEN
        EXECUTE format('CREATE TABLE fpdb.%I PARTITION OF fpdb.embedding FOR VALUES IN (%s)', partition, id);
        EXECUTE format('ALTER TABLE fpdb.%I ADD CONSTRAINT embedding_has_dims CHECK (vector_dims(embedding) = %s)',
            partition, register_model.dims);
        EXECUTE format('COMMENT ON TABLE fpdb.%I IS %L', partition, 'Vectors of model ' || register_model.name || '.');
    END IF;
    IF former <> register_model.index_type THEN
        EXECUTE format('DROP INDEX IF EXISTS fpdb.%I', partition || '_hnsw_idx');
        PERFORM fpdb.index_model(id) WHERE id = fpdb.active_model();
    END IF;
    RETURN id;
END
$$;
COMMENT ON FUNCTION fpdb.register_model(text, text, text, int, int, float8, float8, text) IS
    'Makes a model known, with a partition of its own for its vectors, and returns its key; index_type is vector, or halfvec for half the size; changed, the active model''s index is built anew.';

CREATE OR REPLACE FUNCTION fpdb.active_model() RETURNS smallint
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT model_id FROM fpdb.model WHERE state = 'active'
$$;
COMMENT ON FUNCTION fpdb.active_model() IS 'The key of the active model; NULL where none is.';

CREATE OR REPLACE FUNCTION fpdb.model_named(model smallint) RETURNS fpdb.model
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found fpdb.model;
BEGIN
    SELECT * INTO found FROM fpdb.model m WHERE m.model_id = coalesce(model_named.model, fpdb.active_model());
    IF found.model_id IS NULL THEN
        RAISE EXCEPTION 'there is no model %', coalesce(model_named.model::text, 'active in this database')
            USING HINT = 'SELECT * FROM fpdb.model, or run: fpdb init';
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION fpdb.model_named(smallint) IS
    'A model by its key, the active one where that is NULL; an error where there is none.';

CREATE OR REPLACE FUNCTION fpdb.index_model(model_id smallint) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, @extschema:vector@, pg_temp
SET maintenance_work_mem = '64MB'
SET max_parallel_maintenance_workers = 2
AS $$
#variable_conflict use_column
DECLARE
    model CONSTANT fpdb.model := fpdb.model_named(index_model.model_id);
    partition CONSTANT text := 'embedding_' || model.model_id;
    rows bigint;
    megabytes bigint;
BEGIN
    IF EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = to_regclass('fpdb.' || partition) AND c.relname = partition || '_hnsw_idx') THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT count(*) FROM fpdb.%I', partition) INTO rows;
    -- While the graph fits into memory, building it is many times as fast. A node is its vector and
    -- some 300 bytes of neighbours; a quarter of what the server takes its cache to be is ours at most.
    megabytes := greatest(64, least(
        rows * (model.dims * CASE model.index_type WHEN 'halfvec' THEN 2 ELSE 4 END + 300) * 6 / 5 / 1048576,
        pg_size_bytes(current_setting('effective_cache_size')) / 4 / 1048576));
    PERFORM set_config('maintenance_work_mem', megabytes || 'MB', true);
    PERFORM set_config('max_parallel_maintenance_workers', current_setting('max_parallel_workers'), true);
    EXECUTE format('CREATE INDEX %I ON fpdb.%I USING hnsw ((embedding::%s(%s)) %s)',
        partition || '_hnsw_idx', partition, model.index_type, model.dims, model.index_type || '_cosine_ops');
    RETURN true;
END
$$;
COMMENT ON FUNCTION fpdb.index_model(smallint) IS
    'Builds a model''s HNSW index where it has none, with as much memory and as many processes as the server allows (effective_cache_size / 4, max_parallel_workers), and says whether it had to. Until then its vectors are compared one by one.';

CREATE OR REPLACE FUNCTION fpdb.backfill_model(model_id smallint) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    chosen CONSTANT smallint := (fpdb.model_named(backfill_model.model_id)).model_id;
    lacking bigint[];
BEGIN
    UPDATE fpdb.model m SET state = 'shadow' WHERE m.model_id = chosen AND m.state <> 'active';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'model % is the active one: new assets get it as they come', chosen
            USING HINT = 'to make its vectors again: SELECT fpdb.reprocess(landmarks => false)',
                ERRCODE = 'object_in_use';
    END IF;
    -- Who inserts an asset meanwhile commits first, and is seen here; who comes later sees the new state.
    LOCK TABLE fpdb.asset IN SHARE MODE;
    PERFORM fpdb.drop_building_jobs(chosen, 'embedding');
    UPDATE fpdb.asset_model h SET error = NULL WHERE h.model_id = chosen AND h.error IS NOT NULL;
    lacking := ARRAY(
        SELECT a.asset_id FROM fpdb.asset a
        WHERE NOT EXISTS (
            SELECT FROM fpdb.asset_model h WHERE h.asset_id = a.asset_id AND h.model_id = chosen
                AND h.vectors IS NOT NULL AND h.revision = a.embedding_revision)
        ORDER BY a.asset_id);
    PERFORM fpdb.queue_jobs(lacking, 'embedding', chosen);
    RETURN cardinality(lacking);
END
$$;
COMMENT ON FUNCTION fpdb.backfill_model(smallint) IS
    'Has workers fill a model beside the active one, which goes on being searched: queues every asset that lacks its vectors and returns how many. Assets that come or change meanwhile are queued for both. Called again, it tries again what failed.';

CREATE OR REPLACE FUNCTION fpdb.activate_model(model_id smallint) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    chosen CONSTANT smallint := (fpdb.model_named(activate_model.model_id)).model_id;
    lacking bigint[];
BEGIN
    -- A worker that stores vectors holds its model's row until it commits: none straddles the switch.
    PERFORM FROM fpdb.model m ORDER BY m.model_id FOR NO KEY UPDATE;
    UPDATE fpdb.model m SET state = 'retired' WHERE m.state = 'active' AND m.model_id <> chosen;
    UPDATE fpdb.model m SET state = 'active' WHERE m.state <> 'active' AND m.model_id = chosen;
    IF NOT FOUND THEN
        RETURN 0; -- What lacks its vectors was queued when it became active.
    END IF;
    PERFORM fpdb.index_model(chosen);
    UPDATE fpdb.asset_model h SET error = NULL WHERE h.model_id = chosen AND h.error IS NOT NULL;
    UPDATE fpdb.asset a SET embedding_status = 'ready', embedding_error = NULL
    FROM fpdb.asset_model h
    WHERE h.asset_id = a.asset_id AND h.model_id = chosen
        AND h.vectors IS NOT NULL AND h.revision = a.embedding_revision AND a.embedding_status <> 'ready';
    lacking := ARRAY(
        SELECT a.asset_id FROM fpdb.asset a
        WHERE NOT EXISTS (
            SELECT FROM fpdb.asset_model h WHERE h.asset_id = a.asset_id AND h.model_id = chosen
                AND h.vectors IS NOT NULL AND h.revision = a.embedding_revision)
        ORDER BY a.asset_id);
    -- One that is queued has its job, which is for the model that is active when it runs.
    PERFORM fpdb.queue_jobs(
        (SELECT array_agg(a.asset_id) FROM fpdb.asset a
            WHERE a.asset_id = ANY (lacking) AND a.embedding_status <> 'queued'),
        'embedding');
    UPDATE fpdb.asset a SET embedding_status = 'queued', embedding_error = NULL
    WHERE a.asset_id = ANY (lacking) AND a.embedding_status <> 'queued';
    -- Last, as whoever changes an asset locks it first and its jobs after.
    PERFORM fpdb.drop_building_jobs(chosen, 'embedding');
    PERFORM fpdb.drop_failed_jobs('embedding');
    RETURN cardinality(lacking);
END
$$;
COMMENT ON FUNCTION fpdb.activate_model(smallint) IS
    'Makes a model the one that is searched and filled, in this transaction, queues every asset that lacks its vectors, and returns how many. What the former one has stays, so that going back is one call too. Builds the model''s index where it has none: call fpdb.index_model before, and the switch takes no time.';

CREATE OR REPLACE FUNCTION fpdb.retire_model(model_id smallint) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    chosen CONSTANT smallint := (fpdb.model_named(retire_model.model_id)).model_id;
    assets bigint;
BEGIN
    UPDATE fpdb.model m SET state = 'retired' WHERE m.model_id = chosen AND m.state <> 'active';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'model % is the active one: without its vectors nothing would be found by them', chosen
            USING HINT = 'activate another one first', ERRCODE = 'object_in_use';
    END IF;
    PERFORM fpdb.drop_building_jobs(chosen, 'embedding');
    -- In the order in which workers lock: vectors, then what says that they are there.
    EXECUTE format('TRUNCATE fpdb.%I', 'embedding_' || chosen);
    EXECUTE format('DROP INDEX IF EXISTS fpdb.%I', 'embedding_' || chosen || '_hnsw_idx');
    DELETE FROM fpdb.asset_model h WHERE h.model_id = chosen AND h.vectors IS NOT NULL;
    GET DIAGNOSTICS assets = ROW_COUNT;
    DELETE FROM fpdb.asset_model h WHERE h.model_id = chosen;
    DELETE FROM fpdb.model_weight w WHERE w.model_id = chosen;
    RETURN assets;
END
$$;
COMMENT ON FUNCTION fpdb.retire_model(smallint) IS
    'Removes the vectors of a model that is not active, from the disk too, and returns how many assets had them. The model stays known, and can be filled again.';
