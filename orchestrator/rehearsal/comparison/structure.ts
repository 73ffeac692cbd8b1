import type pg from 'pg';
import type { Difference } from './difference.ts';
import type { SourceForm } from './source-form.ts';

/** Every user has an own organisation, is a member of it, and has its settings: whatever green has done since. */
const OWN_ROWS_MISSING = (own: string): string => `
  SELECT own.k AS key,
         CASE WHEN o.id IS NULL THEN 'org' WHEN m.user_id IS NULL THEN 'org_user' ELSE 'settings' END AS "table"
  FROM (${own}) AS own
  LEFT JOIN org o ON o.id = own.org_id
  LEFT JOIN org_user m ON m.org_id = own.org_id AND m.user_id = own.k
  LEFT JOIN settings s ON s.id = own.settings_id AND s.org_id = own.org_id AND s.user_id IS NULL
  WHERE o.id IS NULL OR m.user_id IS NULL OR s.id IS NULL`;

/** What the copy writes besides facts: names, roles, states, and nothing anywhere else. */
const CONSTANTS_DIFFER = (own: string): string => `
  SELECT own.k AS key, found."table", found."column"
  FROM (${own}) AS own
  JOIN "user" u ON u.id = own.k
  JOIN org o ON o.id = own.org_id
  JOIN org_user m ON m.org_id = own.org_id AND m.user_id = own.k
  LEFT JOIN role r ON r.id = m.role_id
  CROSS JOIN LATERAL (VALUES
    ('org', 'id', o.id <> own.k),
    ('org', 'name', o.name <> 'user_' || own.k || '_org'),
    ('org', 'contact_name', o.contact_name IS NOT NULL),
    ('org', 'contact_email', o.contact_email IS NOT NULL),
    ('org', 'conversation_expiration', o.conversation_expiration IS NOT NULL),
    ('org_user', 'role_id', r.name IS DISTINCT FROM 'admin'),
    ('org_user', 'status', m.status IS DISTINCT FROM 'active'),
    ('user', 'role_id', u.role_id IS NOT NULL),
    ('settings', 'id', own.settings_id <> own.k)
  ) AS found ("table", "column", differs)
  WHERE found.differs`;

/** Rows of the org model that are nobody's own. */
const NOBODYS_ROWS = (own: string): string => `
  SELECT o.id AS key, 'org' AS "table" FROM org o
  WHERE NOT EXISTS (SELECT FROM (${own}) AS own WHERE own.org_id = o.id)
  UNION ALL
  SELECT m.user_id, 'org_user' FROM org_user m
  WHERE NOT EXISTS (SELECT FROM (${own}) AS own WHERE own.org_id = m.org_id AND own.k = m.user_id)
  UNION ALL
  SELECT s.id, 'settings' FROM settings s
  WHERE NOT EXISTS (SELECT FROM (${own}) AS own WHERE own.settings_id = s.id)`;

/** A parked row's reason is true, and no mapped user has an empty key. */
const REASONS_DIFFER = `
  SELECT p.id AS key, 'parked' AS "table" FROM orchestrator.parked p
  WHERE p.reason <> CASE
    WHEN p.keycloak_user_id IS NULL THEN 'null_key'
    WHEN p.keycloak_user_id = '' THEN 'empty_key'
    ELSE 'duplicate'
  END
  UNION ALL
  SELECT u.id, 'user' FROM "user" u WHERE u.keycloak_user_id = ''`;

/** While blue serves a key that somebody has is never without a mapped user. */
const VACANT_KEYS = `
  SELECT p.id AS key, 'parked' AS "table" FROM orchestrator.parked p
  WHERE p.keycloak_user_id <> ''
    AND NOT EXISTS (SELECT FROM "user" u WHERE u.keycloak_user_id = p.keycloak_user_id)`;

export interface StructureRequest {
  readonly form: SourceForm;
  /** Also the constants and that there are no further rows: true until green was written natively. */
  readonly constants: boolean;
  /** Every key that somebody has is held by a mapped user: true while blue serves. */
  readonly noVacantKeys: boolean;
}

/** Checks green's rows against each other. @returns what differs; keys are user ids, or ids of the named table. */
export async function compareStructure(client: pg.Client, request: StructureRequest): Promise<Difference[]> {
  const { own, hasParked } = request.form;
  const checks: [Difference['kind'], string][] = [['own-row', OWN_ROWS_MISSING(own)]];
  if (request.constants) checks.push(['constant', CONSTANTS_DIFFER(own)], ['extra', NOBODYS_ROWS(own)]);
  if (hasParked) checks.push(['reason', REASONS_DIFFER]);
  if (hasParked && request.noVacantKeys) checks.push(['vacant', VACANT_KEYS]);
  const differences: Difference[] = [];
  for (const [kind, sql] of checks) {
    const found = await client.query<{ key: number; table: string; column?: string }>(sql);
    for (const { key, table, column } of found.rows)
      differences.push({ kind, key: Number(key), table, columns: column === undefined ? [] : [column] });
  }
  return differences;
}
