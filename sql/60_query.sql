-- What it answers: a clip or a sentence that plain SQL puts into fpdb.query.
-- Who calls it: Postgres, as a trigger, and people; workers answer.
-- What must be true: queued in the user's transaction; the answer and its notification commit together.

CREATE OR REPLACE FUNCTION fpdb.query_after_insert() RETURNS trigger
LANGUAGE plpgsql
SET search_path = fpdb_queue, pg_temp
AS $$
BEGIN
    PERFORM fpdb_queue.procrastinate_defer_jobs_v1(array_agg(ROW(
        'query', 'query', 0, NULL, NULL, jsonb_build_object('query_id', query_id), NULL
    )::fpdb_queue.procrastinate_job_to_defer_v1 ORDER BY query_id))
    FROM inserted WHERE status = 'queued' HAVING count(*) > 0;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION fpdb.query_after_insert() IS 'Trigger: queues a job for every clip of the statement.';

CREATE OR REPLACE FUNCTION fpdb.query_after_update() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_notify('fpdb_query', new.query_id::text);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION fpdb.query_after_update() IS
    'Trigger: says NOTIFY fpdb_query, with the query_id, when a query becomes ready or failed.';

CREATE OR REPLACE TRIGGER query_after_insert AFTER INSERT ON fpdb.query
    REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION fpdb.query_after_insert();
CREATE OR REPLACE TRIGGER query_after_update AFTER UPDATE OF status ON fpdb.query
    FOR EACH ROW WHEN (new.status IN ('ready', 'failed') AND old.status IS DISTINCT FROM new.status)
    EXECUTE FUNCTION fpdb.query_after_update();

CREATE OR REPLACE FUNCTION fpdb.query(
    text text,
    k int DEFAULT 10,
    collection text DEFAULT NULL,
    content_type text DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    min_duration_sec float8 DEFAULT NULL,
    max_duration_sec float8 DEFAULT NULL
) RETURNS bigint
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO fpdb.query (text, k, collection, content_type, metadata, min_duration_sec, max_duration_sec)
    VALUES (query.text, query.k, query.collection, query.content_type, query.metadata, query.min_duration_sec,
        query.max_duration_sec)
    RETURNING query_id
$$;
COMMENT ON FUNCTION fpdb.query(text, int, text, text, jsonb, float8, float8) IS
    'Asks in words and returns the query_id: a worker writes the moments into fpdb.query_moment and says NOTIFY fpdb_query.';
