-- What it answers: what happens when an asset is inserted, changed or deleted.
-- Who calls it: Postgres, as triggers of fpdb.asset; people call fpdb.reprocess.
-- What must be true: a job is queued in the transaction that asks for it, and names the revision it is for.

CREATE OR REPLACE FUNCTION fpdb.uri_without_secrets(uri text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    -- The user goes first: a password may hold the ? or # at which the query is cut.
    SELECT CASE WHEN uri LIKE '%://%'
        THEN regexp_replace(regexp_replace(uri, '://[^/]*@', '://'), '[?#].*', '') ELSE uri END
$$;
COMMENT ON FUNCTION fpdb.uri_without_secrets(text) IS
    'A URI without user, password, query and fragment: what may be shown, and searched by those who may not see the rest.';

CREATE OR REPLACE FUNCTION fpdb.asset_before_update() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    source_changed boolean := (new.uri, new.content, new.pitch, new.tempo)
        IS DISTINCT FROM (old.uri, old.content, old.pitch, old.tempo);
BEGIN
    IF source_changed THEN
        new.landmark_revision := old.landmark_revision + 1;
        -- What was found in the former source must not answer for the new one.
        new.sha256 := NULL;
        new.audio_source_type := NULL;
        new.duration_sec := NULL;
        new.source_sample_rate := NULL;
        new.profile_id := NULL;
        new.landmark_count := NULL;
    END IF;
    IF source_changed OR
        (new.segment_duration_sec, new.segment_hop_sec, new.sample_rate, new.normalize_embeddings,
            new.normalize_loudness, new.separator, new.max_audio_length_sec)
        IS DISTINCT FROM
        (old.segment_duration_sec, old.segment_hop_sec, old.sample_rate, old.normalize_embeddings,
            old.normalize_loudness, old.separator, old.max_audio_length_sec)
    THEN
        new.embedding_revision := old.embedding_revision + 1;
    END IF;
    IF new.landmark_revision <> old.landmark_revision THEN
        new.landmark_status := 'queued';
        new.landmark_error := NULL;
    END IF;
    IF new.embedding_revision <> old.embedding_revision THEN
        new.embedding_status := 'queued';
        new.embedding_error := NULL;
    END IF;
    RETURN new;
END
$$;
COMMENT ON FUNCTION fpdb.asset_before_update() IS
    'Trigger: a change of source or extraction parameters begins a new revision, whose jobs make those of the old one void.';

CREATE OR REPLACE FUNCTION fpdb.asset_after_insert() RETURNS trigger
LANGUAGE plpgsql
SET search_path = fpdb_queue, pg_temp
AS $$
BEGIN
    -- A row that comes with its results (from `fpdb ingest`) is not queued.
    PERFORM fpdb.queue_jobs(
        (SELECT array_agg(asset_id ORDER BY asset_id) FROM inserted WHERE landmark_status = 'queued'),
        'landmark');
    PERFORM fpdb.queue_jobs(
        (SELECT array_agg(asset_id ORDER BY asset_id) FROM inserted WHERE embedding_status = 'queued'),
        'embedding');
    PERFORM fpdb.queue_building((SELECT array_agg(asset_id ORDER BY asset_id) FROM inserted), kind)
    FROM unnest(ARRAY['landmark', 'embedding']) AS kind;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION fpdb.asset_after_insert() IS
    'Trigger: queues a landmark job and an embedding job for every asset of the statement, and one for each profile that is being built and each shadow model.';

CREATE OR REPLACE FUNCTION fpdb.asset_after_update() RETURNS trigger
LANGUAGE plpgsql
SET search_path = fpdb_queue, pg_temp
AS $$
DECLARE
    again_landmarks bigint[];
    again_embeddings bigint[];
    emptied bigint[];
BEGIN
    SELECT array_agg(n.asset_id) FILTER (WHERE n.landmark_revision <> o.landmark_revision),
        array_agg(n.asset_id) FILTER (WHERE n.embedding_revision <> o.embedding_revision),
        array_agg(n.asset_id) FILTER (WHERE n.landmark_revision <> o.landmark_revision
            AND n.duration_sec IS NULL AND n.profile_id IS NULL AND (o.profile_id IS NOT NULL
                OR EXISTS (SELECT FROM fpdb.asset_profile p WHERE p.asset_id = n.asset_id)))
    INTO again_landmarks, again_embeddings, emptied
    FROM changed n JOIN former o USING (asset_id)
    WHERE (n.landmark_revision, n.embedding_revision) <> (o.landmark_revision, o.embedding_revision);
    IF emptied IS NOT NULL THEN
        -- fpdb.compact() leaves alone what is locked so, and whoever locks so waits for it.
        PERFORM FROM fpdb.asset WHERE asset_id = ANY (emptied) ORDER BY asset_id FOR UPDATE;
        PERFORM fpdb.remove_landmarks(emptied);
        DELETE FROM fpdb.embedding WHERE asset_id = ANY (emptied);
        DELETE FROM fpdb.segment WHERE asset_id = ANY (emptied);
        DELETE FROM fpdb.asset_model WHERE asset_id = ANY (emptied);
    END IF;
    PERFORM fpdb.drop_jobs(again_landmarks, 'landmark');
    PERFORM fpdb.drop_jobs(again_embeddings, 'embedding');
    PERFORM fpdb.queue_jobs(again_landmarks, 'landmark');
    PERFORM fpdb.queue_building(again_landmarks, 'landmark');
    PERFORM fpdb.queue_jobs(again_embeddings, 'embedding');
    PERFORM fpdb.queue_building(again_embeddings, 'embedding');
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION fpdb.asset_after_update() IS
    'Trigger: queues the jobs of every revision that the statement began, and removes what a former source gave.';

CREATE OR REPLACE FUNCTION fpdb.asset_after_delete() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM fpdb.delta WHERE asset_id = ANY (ARRAY(SELECT asset_id FROM deleted));
    PERFORM fpdb.drop_jobs(array_agg(asset_id), kind)
    FROM deleted, unnest(ARRAY['landmark', 'embedding']) AS kind GROUP BY kind;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION fpdb.asset_after_delete() IS
    'Trigger: removes the newest landmarks and the waiting jobs of deleted assets; blocks, segments and vectors leave by foreign key.';

CREATE OR REPLACE FUNCTION fpdb.asset_after_truncate() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    TRUNCATE fpdb.delta, fpdb.tier, fpdb.run, fpdb.posting;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION fpdb.asset_after_truncate() IS 'Trigger: an empty asset table has no landmarks.';

CREATE OR REPLACE FUNCTION fpdb.asset_version() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    work_id bigint;
BEGIN
    IF tg_when = 'AFTER' THEN
        UPDATE fpdb.asset SET version_of = new.version_of WHERE version_of = new.asset_id;
        RETURN NULL;
    END IF;
    SELECT w.version_of INTO work_id FROM fpdb.asset w WHERE w.asset_id = new.version_of;
    IF work_id IS NOT NULL THEN
        RAISE EXCEPTION 'asset % is itself a version of asset %', new.version_of, work_id
            USING HINT = format('name the work: version_of = %s', work_id), ERRCODE = 'check_violation';
    END IF;
    RETURN new;
END
$$;
COMMENT ON FUNCTION fpdb.asset_version() IS
    'Trigger: a version names its work and never another version; what were versions of an asset that becomes one go with it.';

CREATE OR REPLACE FUNCTION fpdb.remove_landmarks(asset_ids bigint[], profile_id smallint DEFAULT NULL) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM fpdb.delta d
    WHERE d.asset_id = ANY (asset_ids) AND d.profile_id = coalesce(remove_landmarks.profile_id, d.profile_id);
    DELETE FROM fpdb.block b
    WHERE b.asset_id = ANY (asset_ids) AND (remove_landmarks.profile_id IS NULL OR EXISTS (
        SELECT FROM fpdb.tier t WHERE t.tier_id = b.tier_id AND t.profile_id = remove_landmarks.profile_id));
    DELETE FROM fpdb.sub_fingerprint s
    WHERE s.asset_id = ANY (asset_ids) AND s.profile_id = coalesce(remove_landmarks.profile_id, s.profile_id);
    DELETE FROM fpdb.asset_profile p
    WHERE p.asset_id = ANY (asset_ids) AND p.profile_id = coalesce(remove_landmarks.profile_id, p.profile_id);
$$;
COMMENT ON FUNCTION fpdb.remove_landmarks(bigint[], smallint) IS
    'Removes the landmarks and bits of assets, of one profile or of all; called by triggers and workers, in the transaction that holds the assets.';

CREATE OR REPLACE FUNCTION fpdb.queue_jobs(asset_ids bigint[], kind text, made_by smallint DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql
SET search_path = fpdb_queue, pg_temp
AS $$
BEGIN
    IF asset_ids IS NULL THEN
        RETURN;
    END IF;
    -- lock and queueing_lock stay NULL: distinct locks make a fetch scan the table, and a
    -- duplicate queueing_lock would abort the user's own INSERT. A void revision costs one look.
    -- What is built beside what serves comes after what somebody waits for.
    PERFORM fpdb_queue.procrastinate_defer_jobs_v1(array_agg(ROW(
        kind, kind, CASE WHEN made_by IS NULL THEN 0 ELSE -1 END, NULL, NULL,
        jsonb_strip_nulls(jsonb_build_object(
            'asset_id', a.asset_id,
            'revision', CASE kind WHEN 'landmark' THEN a.landmark_revision ELSE a.embedding_revision END,
            CASE kind WHEN 'landmark' THEN 'profile_id' ELSE 'model_id' END, made_by)),
        NULL
    )::fpdb_queue.procrastinate_job_to_defer_v1 ORDER BY a.asset_id))
    FROM fpdb.asset a WHERE a.asset_id = ANY (asset_ids);
END
$$;
COMMENT ON FUNCTION fpdb.queue_jobs(bigint[], text, smallint) IS
    'Queues a job of a kind (landmark, embedding) for the present revision of each asset, to be made by the profile or model that is named, and without one by whichever is active when it runs. Called by triggers.';

CREATE OR REPLACE FUNCTION fpdb.queue_building(asset_ids bigint[], kind text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM fpdb.queue_jobs(asset_ids, kind, made_by) FROM (
        SELECT p.profile_id FROM fpdb.profile p WHERE p.state = 'building' AND kind = 'landmark'
        UNION ALL
        SELECT m.model_id FROM fpdb.model m WHERE m.state = 'shadow' AND kind = 'embedding') AS m (made_by);
END
$$;
COMMENT ON FUNCTION fpdb.queue_building(bigint[], text) IS
    'Queues a job of a kind for each asset and each profile that is being built, or each shadow model; called by triggers and by ingestion.';

CREATE OR REPLACE FUNCTION fpdb.drop_jobs(asset_ids bigint[], kind text) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM fpdb_queue.procrastinate_jobs j
    WHERE (j.args->>'asset_id')::bigint = ANY (asset_ids) AND j.queue_name = kind
        AND j.status IN ('todo', 'failed')
$$;
COMMENT ON FUNCTION fpdb.drop_jobs(bigint[], text) IS
    'Removes the waiting and the failed jobs of a kind (landmark, embedding) of assets, of every profile and model; called by triggers.';

CREATE OR REPLACE FUNCTION fpdb.drop_building_jobs(made_by smallint, kind text) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM fpdb_queue.procrastinate_jobs j
    WHERE j.queue_name = kind AND j.status IN ('todo', 'failed')
        AND (j.args->>CASE kind WHEN 'landmark' THEN 'profile_id' ELSE 'model_id' END)::smallint = made_by
$$;
COMMENT ON FUNCTION fpdb.drop_building_jobs(smallint, text) IS
    'Removes the waiting and the failed jobs that name a profile (kind landmark) or a model (kind embedding); called when its state changes.';

CREATE OR REPLACE FUNCTION fpdb.drop_failed_jobs(kind text) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM fpdb_queue.procrastinate_jobs j
    WHERE j.queue_name = kind AND j.status = 'failed' AND NOT j.args ?| ARRAY['profile_id', 'model_id']
$$;
COMMENT ON FUNCTION fpdb.drop_failed_jobs(text) IS
    'Removes the failed jobs of a kind (landmark, embedding) that were for whichever profile or model was active; called when another one becomes it.';

CREATE OR REPLACE FUNCTION fpdb.reprocess(
    asset_ids bigint[] DEFAULT NULL,
    collection text DEFAULT NULL,
    only_failed boolean DEFAULT false,
    landmarks boolean DEFAULT true,
    embeddings boolean DEFAULT true
) RETURNS bigint
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    WITH asked AS (
        UPDATE fpdb.asset a SET
            landmark_revision = landmark_revision
                + (reprocess.landmarks AND NOT (only_failed AND landmark_status <> 'failed'))::int,
            embedding_revision = embedding_revision
                + (reprocess.embeddings AND NOT (only_failed AND embedding_status <> 'failed'))::int
        WHERE (reprocess.asset_ids IS NULL OR a.asset_id = ANY (reprocess.asset_ids))
            AND (reprocess.collection IS NULL OR a.collection = reprocess.collection)
            AND ((reprocess.landmarks AND (NOT only_failed OR a.landmark_status = 'failed'))
                OR (reprocess.embeddings AND (NOT only_failed OR a.embedding_status = 'failed')))
        RETURNING 1
    )
    SELECT count(*) FROM asked
$$;
COMMENT ON FUNCTION fpdb.reprocess(bigint[], text, boolean, boolean, boolean) IS
    'Queues assets again (all, or those listed, of a collection, or failed) and returns how many; landmarks and embeddings can be left out.';

-- Only where the statement names such a column: comparing `content` reads all of it.
CREATE OR REPLACE TRIGGER asset_before_update
    BEFORE UPDATE OF uri, content, pitch, tempo, segment_duration_sec, segment_hop_sec, sample_rate,
        normalize_embeddings, normalize_loudness, separator, max_audio_length_sec, landmark_revision, embedding_revision ON fpdb.asset
    FOR EACH ROW EXECUTE FUNCTION fpdb.asset_before_update();
-- Matches and calibration take a work to be one step away.
CREATE OR REPLACE TRIGGER asset_before_version BEFORE INSERT OR UPDATE OF version_of ON fpdb.asset
    FOR EACH ROW WHEN (new.version_of IS NOT NULL) EXECUTE FUNCTION fpdb.asset_version();
CREATE OR REPLACE TRIGGER asset_after_version AFTER UPDATE OF version_of ON fpdb.asset
    FOR EACH ROW WHEN (new.version_of IS NOT NULL) EXECUTE FUNCTION fpdb.asset_version();
CREATE OR REPLACE TRIGGER asset_after_insert AFTER INSERT ON fpdb.asset
    REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION fpdb.asset_after_insert();
CREATE OR REPLACE TRIGGER asset_after_update AFTER UPDATE ON fpdb.asset
    REFERENCING OLD TABLE AS former NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION fpdb.asset_after_update();
CREATE OR REPLACE TRIGGER asset_after_delete AFTER DELETE ON fpdb.asset
    REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION fpdb.asset_after_delete();
CREATE OR REPLACE TRIGGER asset_after_truncate AFTER TRUNCATE ON fpdb.asset
    FOR EACH STATEMENT EXECUTE FUNCTION fpdb.asset_after_truncate();
