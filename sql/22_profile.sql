-- What it answers: which profile's landmarks are searched, which are built beside it, and which are kept.
-- Who calls it: `fpdb init`, `fpdb migrate`, `fpdb profile`; workers and searches ask for the active one.
-- What must be true: at most one profile is active; who changes a state holds the profile's row before any asset.

CREATE OR REPLACE FUNCTION fpdb.register_profile(name text, digest text, parameters jsonb) RETURNS smallint
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO fpdb.profile (name, digest, parameters, state)
    VALUES (name, digest, parameters,
        CASE WHEN EXISTS (SELECT FROM fpdb.profile WHERE is_active) THEN 'retired' ELSE 'active' END)
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

CREATE OR REPLACE FUNCTION fpdb.profile_key(digest text) RETURNS smallint
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    key smallint := (SELECT p.profile_id FROM fpdb.profile p WHERE p.digest = profile_key.digest);
BEGIN
    IF key IS NULL THEN
        RAISE EXCEPTION 'no program has brought a profile %', digest
            USING HINT = 'run `fpdb migrate` with the program that has it';
    END IF;
    RETURN key;
END
$$;
COMMENT ON FUNCTION fpdb.profile_key(text) IS 'Returns the key of a profile, or raises an error where nobody knows it.';

CREATE OR REPLACE FUNCTION fpdb.build_profile(digest text) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    chosen CONSTANT smallint := fpdb.profile_key(digest);
    lacking bigint[];
BEGIN
    UPDATE fpdb.profile p SET state = 'building' WHERE p.profile_id = chosen AND NOT p.is_active;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'profile % is the active one: new assets get it as they come', digest
            USING HINT = 'to make its landmarks again: SELECT fpdb.reprocess(embeddings => false)',
                ERRCODE = 'object_in_use';
    END IF;
    -- Who inserts an asset meanwhile commits first, and is seen here; who comes later sees the new state.
    LOCK TABLE fpdb.asset IN SHARE MODE;
    PERFORM fpdb.drop_building_jobs(chosen, 'landmark');
    UPDATE fpdb.asset_profile h SET error = NULL WHERE h.profile_id = chosen AND h.error IS NOT NULL;
    lacking := ARRAY(
        SELECT a.asset_id FROM fpdb.asset a
        WHERE NOT EXISTS (
            SELECT FROM fpdb.asset_profile h WHERE h.asset_id = a.asset_id AND h.profile_id = chosen
                AND h.landmark_count IS NOT NULL AND h.revision = a.landmark_revision)
        ORDER BY a.asset_id);
    PERFORM fpdb.queue_jobs(lacking, 'landmark', chosen);
    RETURN cardinality(lacking);
END
$$;
COMMENT ON FUNCTION fpdb.build_profile(text) IS
    'Has workers fill a profile beside the active one, which goes on being searched: queues every asset that lacks it and returns how many. Assets that come or change meanwhile are queued for both. Called again, it tries again what failed.';

CREATE OR REPLACE FUNCTION fpdb.activate_profile(digest text) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    chosen CONSTANT smallint := fpdb.profile_key(digest);
    lacking bigint[];
BEGIN
    -- A worker that stores landmarks holds its profile's row until it commits: none straddles the switch.
    PERFORM FROM fpdb.profile p ORDER BY p.profile_id FOR NO KEY UPDATE;
    UPDATE fpdb.profile p SET state = 'retired' WHERE p.is_active AND p.profile_id <> chosen;
    UPDATE fpdb.profile p SET state = 'active' WHERE NOT p.is_active AND p.profile_id = chosen;
    UPDATE fpdb.asset_profile h SET error = NULL WHERE h.profile_id = chosen AND h.error IS NOT NULL;
    UPDATE fpdb.asset a SET profile_id = chosen, landmark_count = h.landmark_count,
        landmark_status = 'ready', landmark_error = NULL
    FROM fpdb.asset_profile h
    WHERE h.asset_id = a.asset_id AND h.profile_id = chosen
        AND h.landmark_count IS NOT NULL AND h.revision = a.landmark_revision
        AND (a.profile_id IS DISTINCT FROM chosen OR a.landmark_status <> 'ready');
    lacking := ARRAY(
        SELECT a.asset_id FROM fpdb.asset a
        WHERE NOT EXISTS (
            SELECT FROM fpdb.asset_profile h WHERE h.asset_id = a.asset_id AND h.profile_id = chosen
                AND h.landmark_count IS NOT NULL AND h.revision = a.landmark_revision)
        ORDER BY a.asset_id);
    -- One that is queued has its job, which is for the profile that is active when it runs.
    PERFORM fpdb.queue_jobs(
        (SELECT array_agg(a.asset_id) FROM fpdb.asset a
            WHERE a.asset_id = ANY (lacking) AND a.landmark_status <> 'queued'),
        'landmark');
    -- What the profile has of an earlier revision is found until it is replaced.
    UPDATE fpdb.asset a SET landmark_status = 'queued', landmark_error = NULL,
        profile_id = h.profile_id, landmark_count = h.landmark_count
    FROM unnest(lacking) AS l (asset_id)
    LEFT JOIN fpdb.asset_profile h
        ON h.asset_id = l.asset_id AND h.profile_id = chosen AND h.landmark_count IS NOT NULL
    WHERE a.asset_id = l.asset_id;
    -- Last, as whoever changes an asset locks it first and its jobs after.
    PERFORM fpdb.drop_building_jobs(chosen, 'landmark');
    PERFORM fpdb.drop_failed_jobs('landmark');
    RETURN cardinality(lacking);
END
$$;
COMMENT ON FUNCTION fpdb.activate_profile(text) IS
    'Makes a profile the one that is searched, in this transaction, queues every asset that lacks its landmarks, and returns how many. What the former one has stays, so that going back is one call too.';

CREATE OR REPLACE FUNCTION fpdb.drop_profile(digest text) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    chosen CONSTANT smallint := fpdb.profile_key(digest);
    assets bigint;
BEGIN
    UPDATE fpdb.profile p SET state = 'retired' WHERE p.profile_id = chosen AND NOT p.is_active;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'profile % is the active one: without its landmarks nothing would be found', digest
            USING HINT = 'activate another one first', ERRCODE = 'object_in_use';
    END IF;
    -- fpdb.compact() holds this lock: it must not meet landmarks that vanish.
    PERFORM pg_advisory_xact_lock(1718641762, 25);
    PERFORM fpdb.drop_building_jobs(chosen, 'landmark');
    DELETE FROM fpdb.delta d WHERE d.profile_id = chosen;
    DELETE FROM fpdb.block b USING fpdb.tier t WHERE t.tier_id = b.tier_id AND t.profile_id = chosen;
    DELETE FROM fpdb.sub_fingerprint s WHERE s.profile_id = chosen;
    SELECT count(*) INTO assets FROM fpdb.asset_profile h
    WHERE h.profile_id = chosen AND h.landmark_count IS NOT NULL;
    DELETE FROM fpdb.asset_profile h WHERE h.profile_id = chosen;
    RETURN assets;
END
$$;
COMMENT ON FUNCTION fpdb.drop_profile(text) IS
    'Removes the landmarks and bits of a profile that is not active, and returns how many assets had them; packed postings leave the disk at the next fpdb.compact(). The profile stays known, and can be built again.';
