import type pg from 'pg';
import { ident, qualified } from '../../../src/mapping/identifier.ts';
import { SIDES, type Side } from '../../pg/side.ts';
import type { Names, Schemas } from '../../state/names.ts';
import { tablesOf } from '../../state/names.ts';
import { type Finding, stop, warn } from './finding.ts';

type Clients = Readonly<Record<Side, pg.Client>>;

const IDENTITY = `
  SELECT c.system_identifier::text || '/' || d.oid::text AS database, c.system_identifier::text AS system
  FROM pg_control_system() AS c, pg_database AS d
  WHERE d.datname = current_database()`;

/** The same database under two URLs would copy into itself. Two databases of one server are allowed. */
export async function checkDistinct(clients: Clients): Promise<Finding[]> {
  const id = async (side: Side) =>
    (await clients[side].query<{ database: string }>(IDENTITY)).rows[0]?.database;
  const [blue, green] = [await id('blue'), await id('green')];
  if (blue !== green) return [];
  return [
    stop('same-database', null, {
      expected: 'two databases',
      found: 'both URLs lead to the same one',
      fix: 'point --green-url at the new database; to migrate inside one database: orchestrate migrate up --side blue',
    }),
  ];
}

const TABLES = `
  SELECT to_regclass($1) IS NOT NULL AND (SELECT c.relkind IN ('r', 'p') FROM pg_class AS c WHERE c.oid = to_regclass($1)) AS source,
         to_regclass($2) IS NOT NULL AND to_regclass($3) IS NOT NULL AS org`;

/** Whether each side holds what its colour should. @returns also whether the URLs look exchanged. */
export async function checkColours(
  clients: Clients,
  schemas: Schemas,
): Promise<{ findings: Finding[]; swapped: boolean }> {
  const has = async (side: Side) => {
    const { rows } = await clients[side].query<{ source: boolean; org: boolean }>(TABLES, [
      qualified(schemas.source, 'user_settings'),
      qualified(schemas.org, 'org_user'),
      qualified(schemas.org, 'settings'),
    ]);
    return rows[0] ?? { source: false, org: false };
  };
  const blue = await has('blue');
  const green = await has('green');
  if (!blue.source && green.source)
    return {
      swapped: true,
      findings: [
        stop('urls', null, {
          expected: 'user_settings on blue, and not on green',
          found: `user_settings on green${blue.org ? ', the org tables on blue' : ', and not on blue'}: the URLs are exchanged`,
          fix: 'exchange --blue-url and --green-url',
        }),
      ],
    };
  if (green.source)
    return {
      swapped: false,
      findings: [
        stop('target-source', 'green', {
          expected: 'no table user_settings on green: its application would write what nobody reads',
          found: `table ${qualified(schemas.source, 'user_settings')}`,
          fix: `ALTER TABLE ${qualified(schemas.source, 'user_settings')} RENAME TO …; or another green database`,
        }),
      ],
    };
  return { swapped: false, findings: [] };
}

const LEFTOVERS = `
  SELECT 'schema orchestrator' AS what, 'DROP SCHEMA orchestrator' AS fix
  WHERE to_regnamespace('orchestrator') IS NOT NULL
  UNION ALL
  SELECT 'slot ' || slot_name, format('SELECT pg_drop_replication_slot(%L)', slot_name)
  FROM pg_replication_slots
  WHERE slot_name = ANY ($1)
  UNION ALL
  SELECT 'publication ' || pubname, format('DROP PUBLICATION %I', pubname)
  FROM pg_publication
  WHERE pubname = ANY ($2)
  UNION ALL
  SELECT format('fence on %s', t.tgrelid::regclass),
         format('DROP TRIGGER orchestrate_fence ON %s', t.tgrelid::regclass)
  FROM pg_trigger AS t
  WHERE t.tgname = 'orchestrate_fence' AND t.tgrelid = ANY (ARRAY(SELECT to_regclass(n) FROM unnest($3::text[]) AS n))`;

/** What an earlier migration has left, on a side without a control schema of this one. */
export async function checkLeftovers(clients: Clients, names: Names, schemas: Schemas): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const side of SIDES) {
    const tables = tablesOf(side, schemas).map((t) => qualified(t.schema, t.name));
    const { rows } = await clients[side].query<{ what: string; fix: string }>(LEFTOVERS, [
      Object.values(names.slot),
      Object.values(names.publication),
      tables,
    ]);
    for (const { what, fix } of rows) {
      // A fence that finalize has left says that this side's rows are stale.
      const stale = what.startsWith('fence');
      findings.push(
        (stale || what.startsWith('schema') ? stop : warn)('leftovers', side, {
          expected: `nothing of an earlier migration on ${side}`,
          found: stale
            ? `${what}, which an earlier migration has closed: the other database took the writes since`
            : what,
          fix: stale
            ? `make sure that ${side} is the database in use, then ${fix} (or finalize --release-${side})`
            : fix,
        }),
      );
    }
  }
  return findings;
}

const OTHER = 'SELECT migration, side FROM orchestrator.side';

/**
 * The control schemas that are there: ours, on the right sides, or a finding.
 * @returns `ours` when this migration has been started already.
 */
export async function checkControl(
  clients: Clients,
  names: Names,
): Promise<{ findings: Finding[]; ours: boolean }> {
  const findings: Finding[] = [];
  let ours = false;
  for (const side of SIDES) {
    const { rows: has } = await clients[side].query<{ found: boolean }>(
      `SELECT to_regclass('orchestrator.side') IS NOT NULL AS found`,
    );
    if (!has[0]?.found) continue;
    const { rows } = await clients[side].query<{ migration: string; side: Side }>(OTHER);
    const row = rows[0];
    if (row?.migration === names.migration && row.side === side) ours = true;
    else if (row?.migration === names.migration)
      findings.push(
        stop('urls', side, {
          expected: `the ${side} database of migration ${names.migration}`,
          found: `its ${row.side} database: the URLs are exchanged`,
          fix: 'exchange --blue-url and --green-url',
        }),
      );
    else
      findings.push(
        stop('other-migration', side, {
          expected: `no migration but ${names.migration} on ${side}`,
          found: row ? `migration ${row.migration}` : 'an empty control schema',
          fix: row
            ? `orchestrate finalize --migration ${ident(row.migration)}, or orchestrate abort --migration ${ident(row.migration)}`
            : 'DROP SCHEMA orchestrator CASCADE',
        }),
      );
  }
  return { findings, ours };
}
