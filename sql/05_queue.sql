-- What it answers: makes the queue's functions work from whatever search_path, and an asset's jobs quick to find.
-- Who calls it: an upgrade, after the queue's own schema was installed or upgraded.
-- What must be true: the library's functions name their tables without a schema.

DO $$
DECLARE
    routine regprocedure;
BEGIN
    FOR routine IN
        SELECT p.oid::regprocedure FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'fpdb_queue'::regnamespace
            AND 'search_path=fpdb_queue, pg_temp' <> ALL (coalesce(p.proconfig, '{}'))
    LOOP
        EXECUTE format('ALTER ROUTINE %s SET search_path = fpdb_queue, pg_temp', routine);
    END LOOP;
    CREATE INDEX IF NOT EXISTS job_of_asset_idx
        ON fpdb_queue.procrastinate_jobs (((args->>'asset_id')::bigint)) WHERE status IN ('todo', 'failed');
END
$$;
