import { SIDES, type Side } from '../pg/side.ts';
import { openLook, type Pair } from './embedded-pair.ts';

/**
 * Everything in a database that a migration of ours puts there and a finalize takes away, by the catalogs alone (I11).
 * The org tables and their migration records stay; so does the standby's closed fence, which is named apart.
 */
const RESIDUE = `
  SELECT 'slot ' || slot_name AS what FROM pg_replication_slots WHERE database = current_database()
  UNION ALL
  SELECT 'publication ' || pubname FROM pg_publication
  UNION ALL
  SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE 'orchestrat%'
  UNION ALL
  SELECT 'trigger ' || t.tgname || ' on ' || t.tgrelid::regclass
  FROM pg_trigger AS t
  WHERE NOT t.tgisinternal AND NOT ($1 AND t.tgname = 'orchestrate_fence' AND t.tgenabled = 'A')
    AND NOT ($2 AND t.tgname = 'orchestrate_user_settings')
  UNION ALL
  SELECT 'function ' || p.oid::regprocedure
  FROM pg_proc AS p
  JOIN pg_namespace AS n ON n.oid = p.pronamespace
  WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND p.proname LIKE 'orchestrat%'
    AND NOT ($1 AND p.proname = 'orchestrate_fence')
    AND NOT ($2 AND p.proname = 'orchestrate_user_settings')
  UNION ALL
  SELECT 'replica identity ' || c.relreplident::text || ' of ' || c.oid::regclass
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND n.nspname = 'public' AND c.relreplident <> 'd'
  ORDER BY 1`;

/**
 * @param viewKept whether the compatibility view was asked to stay on green.
 * @returns what is left on each side after a finalize with green serving, e.g. `blue: slot x`.
 */
export async function residueOf(pair: Pair, viewKept = false): Promise<string[]> {
  const left: string[] = [];
  for (const side of SIDES) {
    const client = await openLook(pair.urls[side].superuser);
    try {
      const { rows } = await client.query<{ what: string }>(RESIDUE, [
        sealed(side),
        viewKept && side === 'green',
      ]);
      left.push(...rows.map(({ what }) => `${side}: ${what}`));
    } finally {
      await client.end();
    }
  }
  return left;
}

/** Only the standby keeps its closed fence. */
const sealed = (side: Side): boolean => side === 'blue';
