/**
 * The fence's server-side calls, on both sides. Each is one statement for its client: a client that stalled between
 * two statements with the serving side's lock in hand would stall every writer behind it.
 *
 * Every change of a fence is a compare-and-set under the table lock, keyed by the attempt (DESIGN 7). The state, the
 * deadline (epoch seconds, this server's clock) and the attempt are arguments of the trigger, not rows: an old
 * snapshot cannot miss them. SQLSTATE ORC01 stands for a stale epoch or generation, ORC02 for a fence that is not in
 * the state the call may change, ORC03 for a lease that ran out.
 */
export const FENCE_FUNCTIONS = `
  -- What the triggers say; one row a table. A trigger that is missing, not ours or not enabled as its state demands is 'broken'.
  CREATE FUNCTION orchestrator.fence(tables text[])
  RETURNS TABLE (relation text, state text, deadline numeric, attempt text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.name,
           CASE
             WHEN t.oid IS NULL THEN 'absent'
             -- 2 + 4 + 8 + 16 + 32: BEFORE, for each statement, INSERT, DELETE, UPDATE, TRUNCATE.
             WHEN t.tgtype <> 62 OR p.proname <> 'orchestrate_fence' OR p.pronamespace <> c.relnamespace
                  OR t.tgenabled <> CASE WHEN a.args[1] = 'open' THEN 'D' ELSE 'A' END THEN 'broken'
             ELSE a.args[1]
           END,
           nullif(a.args[2], '')::numeric,
           nullif(a.args[3], '')
    FROM unnest(tables) AS r(name)
    JOIN pg_class AS c ON c.oid = to_regclass(r.name)
    LEFT JOIN pg_trigger AS t ON t.tgrelid = c.oid AND t.tgname = 'orchestrate_fence' AND NOT t.tgisinternal
    LEFT JOIN pg_proc AS p ON p.oid = t.tgfoid
    CROSS JOIN LATERAL (SELECT string_to_array(encode(t.tgargs, 'escape'), '\\000') AS args) AS a
  $$;

  -- Replaces the triggers. A replace resets ENABLE ALWAYS, without which session_replication_role = replica walks through.
  CREATE FUNCTION orchestrator.set_fence(
    tables text[], state text, deadline numeric, attempt text, migration text)
  RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
  DECLARE
    name text;
    relation regclass;
    namespace name;
  BEGIN
    FOREACH name IN ARRAY tables LOOP
      relation := name::regclass;
      SELECT n.nspname INTO STRICT namespace
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = relation;
      EXECUTE format(
        'CREATE OR REPLACE TRIGGER orchestrate_fence BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s
         FOR EACH STATEMENT EXECUTE FUNCTION %I.orchestrate_fence(%L, %L, %L, %L, %L)',
        relation, namespace, state, coalesce(deadline::text, ''), coalesce(attempt, ''), session_user, migration);
      EXECUTE format('ALTER TABLE %s %s TRIGGER orchestrate_fence', relation,
        CASE WHEN state = 'open' THEN 'DISABLE' ELSE 'ENABLE ALWAYS' END);
    END LOOP;
    IF EXISTS (SELECT FROM orchestrator.fence(tables) AS f
               WHERE f.state <> set_fence.state OR f.attempt IS DISTINCT FROM nullif(set_fence.attempt, '')
                  OR f.deadline IS DISTINCT FROM set_fence.deadline) THEN
      RAISE EXCEPTION USING ERRCODE = 'ORC02', MESSAGE = 'the fence does not read back as it was set';
    END IF;
  END $$;

  -- later_ms: the longest wait for all but the first table. Whoever holds the first one is in nobody's way yet; with
  -- it in hand, a writer that takes the tables in another order waits for us as we wait for it.
  CREATE FUNCTION orchestrator.lock_tables(tables text[], wait_ms integer, later_ms integer DEFAULT NULL)
  RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
  DECLARE
    name text;
    first boolean := true;
    until timestamptz := clock_timestamp() + make_interval(secs => wait_ms / 1000.0);
    left_ms integer := wait_ms;
  BEGIN
    FOREACH name IN ARRAY tables LOOP
      -- One bound for the whole call, however many tables there are: writers wait behind the first of them already.
      IF NOT first THEN
        left_ms := greatest(10, extract(epoch FROM until - clock_timestamp()) * 1000)::integer;
        left_ms := least(left_ms, coalesce(later_ms, left_ms));
      END IF;
      first := false;
      PERFORM set_config('lock_timeout', left_ms || 'ms', true);
      EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', name::regclass);
    END LOOP;
  END $$;

  CREATE FUNCTION orchestrator.now_seconds() RETURNS numeric LANGUAGE sql VOLATILE
  SET search_path = pg_catalog, pg_temp AS 'SELECT extract(epoch FROM clock_timestamp())';

  -- Statements that passed an expired lease so far; the count does not depend on a clock that was stepped.
  CREATE FUNCTION orchestrator.late_passes() RETURNS bigint LANGUAGE sql VOLATILE
  SET search_path = pg_catalog, pg_temp AS
    'SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM orchestrator.fence_late';

  -- Step 3: only from open or lapsed; waits for open writers; the barrier is emitted in the same transaction.
  CREATE FUNCTION orchestrator.freeze(
    migration text, epoch bigint, generation bigint, tables text[], attempt text, deadline numeric,
    wait_ms integer, prefix text, later_ms integer DEFAULT NULL)
  RETURNS TABLE (barrier pg_lsn, late bigint, frozen_at numeric)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
  BEGIN
    PERFORM orchestrator.lock_tables(tables, wait_ms, later_ms);
    PERFORM FROM orchestrator.side AS s
    WHERE s.migration = "freeze".migration AND s.epoch = "freeze".epoch AND s.generation = "freeze".generation
      AND s.role = 'serving' FOR SHARE;
    IF NOT FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'ORC01', MESSAGE = 'epoch, generation or role has changed';
    END IF;
    IF orchestrator.now_seconds() >= "freeze".deadline THEN
      RAISE EXCEPTION USING ERRCODE = 'ORC03', MESSAGE = 'the deadline of the freeze has passed';
    END IF;
    IF EXISTS (SELECT FROM orchestrator.fence(tables) AS f
               WHERE NOT (f.state = 'open' OR (f.state = 'leased' AND f.deadline <= orchestrator.now_seconds()))) THEN
      RAISE EXCEPTION USING ERRCODE = 'ORC02', MESSAGE = 'the fence is neither open nor lapsed';
    END IF;
    PERFORM orchestrator.set_fence(tables, 'leased', "freeze".deadline, "freeze".attempt, "freeze".migration);
    late := orchestrator.late_passes();
    barrier := pg_logical_emit_message(true, "freeze".prefix, 'barrier:' || "freeze".attempt);
    frozen_at := orchestrator.now_seconds();
    RETURN NEXT;
  END $$;

  -- Step 8: the lock, then the clock. The point of no return is the commit of this call.
  CREATE FUNCTION orchestrator.decide(
    migration text, epoch bigint, generation bigint, tables text[], attempt text, kind text, to_side text,
    direction text, start_at pg_lsn, system_identifier text, timeline integer, slot text, late bigint,
    margin_ms integer, wait_ms integer)
  RETURNS numeric LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
  BEGIN
    PERFORM orchestrator.lock_tables(tables, wait_ms);
    PERFORM FROM orchestrator.side AS s
    WHERE s.migration = decide.migration AND s.epoch = decide.epoch AND s.generation = decide.generation
      AND s.role = 'serving' FOR UPDATE;
    IF NOT FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'ORC01', MESSAGE = 'epoch, generation or role has changed';
    END IF;
    IF EXISTS (SELECT FROM orchestrator.fence(tables) AS f
               WHERE f.state <> 'leased' OR f.attempt IS DISTINCT FROM decide.attempt) THEN
      RAISE EXCEPTION USING ERRCODE = 'ORC02', MESSAGE = 'the fence is not the lease of this attempt';
    END IF;
    IF EXISTS (SELECT FROM orchestrator.fence(tables) AS f
               WHERE f.deadline - decide.margin_ms / 1000.0 <= orchestrator.now_seconds()) THEN
      RAISE EXCEPTION USING ERRCODE = 'ORC03', MESSAGE = 'the fence lease has run out';
    END IF;
    IF orchestrator.late_passes() <> decide.late THEN
      RAISE EXCEPTION USING ERRCODE = 'ORC03', MESSAGE = 'a statement has passed an expired lease';
    END IF;
    INSERT INTO orchestrator.decision
      (generation, attempt, kind, to_side, position, system_identifier, timeline, slot)
    VALUES (decide.generation + 1, decide.attempt::uuid, decide.kind, decide.to_side, decide.start_at,
            decide.system_identifier, decide.timeline, decide.slot);
    UPDATE orchestrator.side AS s SET generation = decide.generation + 1, role = 'standby', position = NULL
    WHERE s.migration = decide.migration;
    -- The stream back starts exactly at what the new side had written before it was opened, whatever its slot says.
    UPDATE orchestrator.progress AS p SET lsn = decide.start_at, updated_at = clock_timestamp()
    WHERE p.direction = decide.direction AND p.slot = decide.slot
      AND p.system_identifier = decide.system_identifier AND p.lsn <= decide.start_at;
    IF NOT FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'ORC02', MESSAGE = 'the stream back is not the one that was prepared';
    END IF;
    PERFORM orchestrator.set_fence(tables, 'closed', NULL, NULL, decide.migration);
    RETURN orchestrator.now_seconds();
  END $$;

  -- Only from this attempt's own lease, and only while no decision of the attempt is here.
  CREATE FUNCTION orchestrator.reopen(
    migration text, epoch bigint, generation bigint, tables text[], attempt text, wait_ms integer)
  RETURNS numeric LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
  BEGIN
    PERFORM orchestrator.lock_tables(tables, wait_ms);
    PERFORM FROM orchestrator.side AS s
    WHERE s.migration = reopen.migration AND s.epoch = reopen.epoch AND s.generation = reopen.generation
      AND s.role = 'serving' FOR SHARE;
    IF NOT FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'ORC01', MESSAGE = 'epoch, generation or role has changed';
    END IF;
    IF EXISTS (SELECT FROM orchestrator.decision AS d WHERE d.attempt = reopen.attempt::uuid)
       OR EXISTS (SELECT FROM orchestrator.fence(tables) AS f
                  WHERE f.state <> 'open' AND (f.state <> 'leased' OR f.attempt IS DISTINCT FROM reopen.attempt)) THEN
      RAISE EXCEPTION USING ERRCODE = 'ORC02', MESSAGE = 'the fence is not the lease of this attempt';
    END IF;
    PERFORM orchestrator.set_fence(tables, 'open', NULL, NULL, reopen.migration);
    RETURN orchestrator.now_seconds();
  END $$;

  -- Steps 7 and 9: everything of the opening but its commit, which is the caller's.
  CREATE FUNCTION orchestrator.arm(
    migration text, epoch bigint, generation bigint, tables text[], start_at pg_lsn, wait_ms integer)
  RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
  BEGIN
    PERFORM orchestrator.lock_tables(tables, wait_ms);
    PERFORM FROM orchestrator.side AS s
    WHERE s.migration = arm.migration AND s.epoch = arm.epoch AND s.generation = arm.generation
      AND s.role = 'standby' FOR UPDATE;
    IF NOT FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'ORC01', MESSAGE = 'epoch, generation or role has changed';
    END IF;
    IF EXISTS (SELECT FROM orchestrator.fence(tables) AS f WHERE f.state <> 'closed') THEN
      RAISE EXCEPTION USING ERRCODE = 'ORC02', MESSAGE = 'the fence of the standby is not closed';
    END IF;
    PERFORM orchestrator.set_fence(tables, 'open', NULL, NULL, arm.migration);
    UPDATE orchestrator.side AS s
    SET generation = arm.generation + 1, role = 'serving', position = arm.start_at
    WHERE s.migration = arm.migration;
  END $$;
`;
