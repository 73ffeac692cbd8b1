import type { ClientBase } from 'pg';
import { ident } from '../../../src/mapping/identifier.ts';
import { ADMINISTRATORS } from '../../grants/platform.ts';
import { type Finding, type SideFacts, stop, warn } from './finding.ts';

const RIGHTS = `
  SELECT r.rolsuper AS super,
         concat_ws(', ', CASE WHEN r.rolsuper THEN 'SUPERUSER' END,
                         CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END,
                         CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
                         CASE WHEN r.rolbypassrls AND NOT coalesce((
                           SELECT bool_or(c.relrowsecurity OR c.relforcerowsecurity) FROM pg_class AS c
                           WHERE c.relowner = o.oid AND c.relkind = 'r'), false) THEN 'BYPASSRLS' END,
                         (SELECT string_agg('membership in ' || a.rolname, ', ' ORDER BY a.rolname) FROM pg_roles AS a
                          WHERE NOT r.rolsuper AND a.rolname = ANY ($5) AND pg_has_role(r.oid, a.oid, 'member'))) AS excess,
         r.rolreplication OR coalesce(
           (SELECT pg_has_role(r.oid, g.oid, 'member') FROM pg_roles AS g WHERE g.rolname = 'rds_replication'),
           false) AS replication,
         has_database_privilege(r.oid, current_database(), 'CREATE') AS may_create,
         pg_has_role(r.oid, o.oid, 'usage') AS inherits_owner,
         pg_has_role(r.oid, o.oid, CASE WHEN $3 >= 160000 THEN 'set' ELSE 'member' END) AS may_become_owner,
         to_regnamespace($2) IS NOT NULL AS has_schema,
         to_regnamespace($2) IS NOT NULL AND has_schema_privilege(o.oid, to_regnamespace($2), 'CREATE') AS owner_creates
  FROM pg_roles AS r
  JOIN pg_roles AS o ON o.rolname = $1
  WHERE r.rolname = $4`;

interface RightsRow {
  readonly super: boolean;
  readonly excess: string;
  readonly replication: boolean;
  readonly may_create: boolean;
  readonly inherits_owner: boolean;
  readonly may_become_owner: boolean;
  readonly has_schema: boolean;
  readonly owner_creates: boolean;
}

/**
 * What the sync role must be allowed to do, and what it should not be.
 * @param owner the role that owns, or is to own, the side's tables.
 * @param schema where those tables are.
 */
export async function checkRights(
  client: ClientBase,
  facts: SideFacts,
  owner: string,
  schema: string,
): Promise<Finding[]> {
  const { side } = facts;
  const login = ident(facts.login);
  const { rows } = await client.query<RightsRow>(RIGHTS, [
    owner,
    ident(schema),
    facts.version,
    facts.login,
    ADMINISTRATORS,
  ]);
  const r = rows[0];
  const whole = `; or all its rights: ${grantsLine(facts, owner)}`;
  if (!r)
    return [
      stop('login', side, {
        expected: `a login ${facts.login}`,
        found: 'none of that name',
        fix: grantsLine(facts, owner),
      }),
    ];
  const findings: Finding[] = [];
  if (!r.has_schema)
    findings.push(
      stop('schema', side, {
        expected: `schema ${schema}`,
        found: 'none',
        fix: `CREATE SCHEMA ${ident(schema)} AUTHORIZATION ${ident(owner)}`,
      }),
    );
  if (r.excess !== '')
    findings.push(
      warn('excess', side, {
        expected: `${facts.login} has the rights it needs, and no others: it passes the fence`,
        found: r.excess,
        fix: `${grantsLine(facts, owner)} prints what takes them away`,
      }),
    );
  if (r.super) return findings;
  if (!r.replication)
    findings.push(
      stop('replication', side, {
        expected: `${facts.login} may replicate`,
        found: 'neither REPLICATION nor membership in rds_replication',
        fix: `ALTER ROLE ${login} REPLICATION (on RDS: GRANT rds_replication TO ${login})${whole}`,
      }),
    );
  if (!r.may_create)
    findings.push(
      stop('create', side, {
        expected: `${facts.login} may create schemas and publications in ${facts.database}`,
        found: 'no CREATE on the database',
        fix: `GRANT CREATE ON DATABASE ${ident(facts.database)} TO ${login}${whole}`,
      }),
    );
  if (!r.inherits_owner || !r.may_become_owner)
    findings.push(
      stop('ownership', side, {
        expected: `${facts.login} is a member of ${owner}, which owns the tables`,
        found: r.inherits_owner ? 'a membership without SET' : 'no membership that is inherited',
        fix: `GRANT ${ident(owner)} TO ${login}${facts.version >= 160_000 ? ' WITH INHERIT TRUE, SET TRUE' : ''}${whole}`,
      }),
    );
  if (r.has_schema && !r.owner_creates)
    findings.push(
      stop('schema-create', side, {
        expected: `${owner} may create in schema ${schema}`,
        found: 'no CREATE on the schema',
        fix: `GRANT CREATE ON SCHEMA ${ident(schema)} TO ${ident(owner)}${whole}`,
      }),
    );
  return findings;
}

/** The command line that prints every statement for this login, with names as a shell takes them. */
function grantsLine({ side, login, database }: SideFacts, owner: string): string {
  const word = (name: string) => (/^[\w.-]+$/.test(name) ? name : `'${name.replaceAll("'", `'\\''`)}'`);
  return `orchestrate grants --side ${side} --role ${word(login)} --owner ${word(owner)} --database ${word(database)}`;
}

const FOREIGN = `
  SELECT string_agg(format('pid %s (%s, %s)', a.pid, coalesce(nullif(a.application_name, ''), 'no application name'),
                           coalesce(host(a.client_addr), 'local')), ', ' ORDER BY a.pid) AS sessions
  FROM pg_stat_activity AS a
  WHERE a.usename = $1
    -- One in another database of the server cannot write here.
    AND a.datname = current_database()
    AND a.pid <> pg_backend_pid()
    -- Every session of ours says so from its first packet on.
    AND a.application_name NOT LIKE 'orchestrate/%'
    AND a.backend_type IN ('client backend', 'walsender')`;

/** The fence lets this login through: a session that is not ours would write past it. */
export async function checkForeignSessions(client: ClientBase, facts: SideFacts): Promise<Finding[]> {
  const { rows } = await client.query<{ sessions: string | null }>(FOREIGN, [facts.login]);
  const sessions = rows[0]?.sessions;
  if (!sessions) return [];
  return [
    stop('foreign-session', facts.side, {
      expected: `no session but ours uses the login ${facts.login}, which passes the fence`,
      found: sessions,
      fix: `end it: SELECT pg_terminate_backend(pid); and give it a login of its own`,
    }),
  ];
}
