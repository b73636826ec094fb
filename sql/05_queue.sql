-- What it answers: makes the queue's functions work whoever calls them, from whatever search_path.
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
END
$$;
