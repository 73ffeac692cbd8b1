import { ident } from '../src/mapping/identifier.ts';

/** What can be asked of the runner: each has a function of its own, so that the right to ask is granted one by one. */
export const REQUESTS = ['verify', 'cutover', 'revert', 'abort', 'finalize', 'pause', 'resume'] as const;

const requestFunction = (command: string): string => `
  CREATE FUNCTION orchestrator.request_${command}(
    migration text, options jsonb, by jsonb, seconds double precision, status text)
  RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO orchestrator.request (migration, command, options, by, epoch, expires_at, status)
    SELECT $1, '${command}', $2, $3 || jsonb_build_object('database_user', session_user), s.epoch,
           clock_timestamp() + make_interval(secs => $4), $5
    FROM orchestrator.side AS s
    WHERE s.migration = $1 AND jsonb_typeof($2) = 'object' AND jsonb_typeof($3) = 'object'
    RETURNING id::text
  $$;`;

/**
 * The way of a request into its table. SECURITY DEFINER: who may ask for one thing needs no right on the table, where
 * it could ask for everything. Who asked is the session's login, whatever the caller says; only they, and the schema's
 * owner, may take a request back. What is not an object is no request: a runner would fail on it.
 */
export const REQUEST_FUNCTIONS = `
  ${REQUESTS.map(requestFunction).join('\n')}

  CREATE FUNCTION orchestrator.cancel_request(request bigint)
  RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH cancelled AS (
      UPDATE orchestrator.request AS r
      SET cancel = true, status = CASE r.status WHEN 'pending' THEN 'cancelled' ELSE r.status END
      WHERE r.id = $1 AND (r.by ->> 'database_user' = session_user OR session_user = current_user)
      RETURNING r.id)
    SELECT EXISTS (SELECT FROM cancelled)
  $$;

  CREATE FUNCTION orchestrator.withdraw_request(request bigint)
  RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH withdrawn AS (
      UPDATE orchestrator.request AS r
      SET status = 'cancelled'
      WHERE r.id = $1 AND r.status = 'pending'
        AND (r.by ->> 'database_user' = session_user OR session_user = current_user)
      RETURNING r.id)
    SELECT EXISTS (SELECT FROM withdrawn)
  $$;
`;

/** Functions are everybody's unless that is taken back. */
export const NOT_FOR_PUBLIC = 'REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA orchestrator FROM PUBLIC';

/** What `status` and `events` read: names, positions, counts; of parked rows ids and reasons, and of kept rows nothing. */
const WATCHED = {
  blue: ['side', 'decision', 'progress'],
  green: [
    'side',
    'decision',
    'progress',
    'lease',
    'run',
    'journal',
    'journal_link',
    'request',
    'chunk',
    'sweep',
    'certificate',
    'observation',
    'counter',
  ],
} as const;

/** @returns the statements that let a role read where the migration is, in a database whose control schema exists. */
export function watchRights(side: 'blue' | 'green', role: string): string[] {
  const to = ident(role);
  const tables = WATCHED[side].map((name) => `orchestrator.${name}`).join(', ');
  return [
    `GRANT USAGE ON SCHEMA orchestrator TO ${to}`,
    `GRANT SELECT ON ${tables} TO ${to}`,
    `GRANT SELECT ON SEQUENCE orchestrator.fence_refused TO ${to}`,
    `GRANT EXECUTE ON FUNCTION orchestrator.fence(text[]), orchestrator.now_seconds() TO ${to}`,
    ...(side === 'green' ? [`GRANT SELECT (id, reason) ON orchestrator.parked TO ${to}`] : []),
  ];
}

/** @returns the statements, for green, that let a role ask the runner for one command and take that back. */
export function requestRights(command: (typeof REQUESTS)[number], role: string): string[] {
  return [
    `GRANT EXECUTE ON FUNCTION orchestrator.request_${command}(text, jsonb, jsonb, double precision, text), ` +
      `orchestrator.cancel_request(bigint), orchestrator.withdraw_request(bigint) TO ${ident(role)}`,
  ];
}
