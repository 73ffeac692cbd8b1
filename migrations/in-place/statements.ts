import { KEY_COLUMN, SOURCE_TABLE } from '../../src/mapping/columns.ts';
import { ident, qualified } from '../../src/mapping/identifier.ts';
import { forwardList, MAPPABLE, SOURCE_LIST, SOURCE_NAMES, targetNames } from '../../src/mapping/sql.ts';
import { target } from '../../src/mapping/target.ts';
import type { TableSchemas } from '../session.ts';

/** The one row that says how far an in-place 057 has come, and what it cost; `down` drops it. */
export const PROGRESS_TABLE = 'orchestrate_in_place';

const KEY = ident(KEY_COLUMN);

/** Every statement of the in-place move, over quoted names. Values stay inside PostgreSQL; only ids travel. */
export function statementsOf(schemas: TableSchemas) {
  const source = qualified(schemas.source, SOURCE_TABLE);
  const org = (name: string) => qualified(schemas.org, name);
  const progress = org(PROGRESS_TABLE);

  /**
   * The forward image of the rows of the CTE `batch`: "user" first, because its unique key says who is mapped. The
   * foreign keys are looked at when the whole statement ends, so one statement writes all four tables.
   */
  const fanOut = (onConflict: string) => `
  named AS (
    INSERT INTO ${org('user')} (${targetNames(target('user'))})
    SELECT ${forwardList(target('user'))} FROM batch AS us WHERE ${MAPPABLE} ORDER BY us."id"
    ${onConflict}
    RETURNING "id"
  ),
  mapped AS (SELECT us.* FROM batch AS us JOIN named ON named."id" = us."id"),
  orgs AS (
    INSERT INTO ${org('org')} (${targetNames(target('org'))})
    SELECT ${forwardList(target('org'))} FROM mapped AS us
  ),
  members AS (
    INSERT INTO ${org('org_user')} (${targetNames(target('org_user'))})
    SELECT ${forwardList(target('org_user'))} FROM mapped AS us
  ),
  preferences AS (
    INSERT INTO ${org('settings')} (${targetNames(target('settings'))})
    SELECT ${forwardList(target('settings'))} FROM mapped AS us
  )`;
  // Batches go by id, so the lowest id of a key comes first; whoever meets a key that is held stays unmapped.
  const lenient = `ON CONFLICT (${KEY}) DO NOTHING`;

  const renewed = (onConflict: string) => `
  WITH batch AS MATERIALIZED (
    SELECT ${SOURCE_NAMES}
    FROM (
      SELECT ${SOURCE_LIST}, row_number() OVER (PARTITION BY us.${KEY} ORDER BY us."id") AS place
      FROM ${source} AS us
      WHERE us."id" = ANY ($1::integer[]) AND ${MAPPABLE}
    ) AS us
    WHERE us.place = 1
  ),${fanOut(onConflict)}
  SELECT count(*)::integer AS mapped FROM named`;

  return {
    source,

    /**
     * `$1` the last id that was read, `$2` how many rows, `$3` the milliseconds that earlier batches took and nobody has
     * noted. One statement, so rows and progress commit together.
     */
    batch: `
  WITH batch AS MATERIALIZED (
    SELECT ${SOURCE_LIST} FROM ${source} AS us WHERE us."id" > $1::bigint ORDER BY us."id" LIMIT $2
  ),${fanOut(lenient)}
  UPDATE ${progress} AS p
  SET last_id = coalesce((SELECT max(b."id") FROM batch AS b), p.last_id),
      rows_read = p.rows_read + (SELECT count(*) FROM batch),
      batches = p.batches + 1,
      copied = (SELECT count(*) FROM batch) < $2,
      busy_ms = p.busy_ms + $3::double precision,
      failed_batch = NULL, failed_id = NULL, failed_state = NULL, failed_on = NULL
  RETURNING p.last_id::text, p.copied, p.batches, p.rows_read::text`,

    /** Where the window of changes begins and ends now: see `changed`. */
    horizon: `
  SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS low, pg_snapshot_xmax(pg_current_snapshot())::text AS high`,

    /**
     * Ids after `$1` of rows whose version was written by one of the `$4` newest transactions before `$3`; all rows
     * when `$4` is negative. A version carries the id of the transaction (or subtransaction) that wrote it in xmin;
     * whatever was still running when the window began is not older than the xmin of that moment's snapshot. Of row
     * versions that are older than the counter's range some look new: read once too often, never missed.
     */
    changed: `
  SELECT us."id" AS id
  FROM ${source} AS us
  WHERE us."id" > $1::bigint
    AND ($4::bigint < 0 OR (($3::bigint - us.xmin::text::bigint) & 4294967295) <= $4::bigint)
  ORDER BY us."id"
  LIMIT $2`,

    /** Ids after `$1` of mapped rows that user_settings no longer has. */
    deleted: `
  SELECT u."id" AS id
  FROM ${org('user')} AS u
  WHERE u."id" > $1::bigint AND NOT EXISTS (SELECT FROM ${source} AS us WHERE us."id" = u."id")
  ORDER BY u."id"
  LIMIT $2`,

    /**
     * Everybody whom the keys of the ids `$1` concern, those they have and those they had; and whom theirs concern, and
     * so on: whoever's image is taken away may leave a key to an heir that nothing else would lead to.
     */
    affected: `
  WITH RECURSIVE affected(id) AS (
    SELECT t.id FROM unnest($1::integer[]) AS t(id)
    UNION
    SELECT near.id
    FROM affected AS a
    CROSS JOIN LATERAL (
      SELECT other."id" AS id
      FROM ${source} AS us JOIN ${source} AS other ON other.${KEY} = us.${KEY}
      WHERE us."id" = a.id AND us.${KEY} <> ''
      UNION ALL
      SELECT u."id" FROM ${source} AS us JOIN ${org('user')} AS u ON u.${KEY} = us.${KEY} WHERE us."id" = a.id
      UNION ALL
      SELECT heir."id" FROM ${org('user')} AS u JOIN ${source} AS heir ON heir.${KEY} = u.${KEY} WHERE u."id" = a.id
    ) AS near
  )
  SELECT a.id AS id FROM affected AS a`,

    /** Takes the images of the ids `$1` away, children first; what others have attached to them makes it fail (I8). */
    remove: [
      `DELETE FROM ${org('settings')} AS s WHERE s."id" = ANY ($1::integer[])`,
      `DELETE FROM ${org('org_user')} AS m WHERE m."user_id" = ANY ($1::integer[]) AND m."org_id" = m."user_id"`,
      `DELETE FROM ${org('user')} AS u WHERE u."id" = ANY ($1::integer[])`,
      `DELETE FROM ${org('org')} AS o WHERE o."id" = ANY ($1::integer[])`,
    ],

    /** Maps the ids `$1` anew. While others write, a key may still be held by a row that is about to be read again. */
    renewWhileWritten: renewed(lenient),
    /** The same with writers locked out: whatever is in the way then is an error. */
    renew: renewed(''),

    seedRoles: `
  INSERT INTO ${org('role')} (id, name, rank)
  VALUES (1, 'admin', 1), (2, 'user', 1000)
  ON CONFLICT (id) DO NOTHING`,

    createProgress: `
  CREATE TABLE IF NOT EXISTS ${progress} (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz,
    rows_expected bigint NOT NULL,
    since        bigint NOT NULL,
    last_id      bigint NOT NULL DEFAULT -2147483649,
    rows_read    bigint NOT NULL DEFAULT 0,
    rows_again   bigint NOT NULL DEFAULT 0,
    batches      integer NOT NULL DEFAULT 0,
    copied       boolean NOT NULL DEFAULT false,
    busy_ms      double precision NOT NULL DEFAULT 0,
    locked_ms    double precision,
    size_before  bigint NOT NULL DEFAULT pg_database_size(current_database()),
    size_after   bigint,
    failed_batch integer,
    failed_id    integer,
    failed_state text,
    failed_on    text,
    foreign_keys text[]
  )`,
    beginProgress: `
  INSERT INTO ${progress} (rows_expected, since)
  SELECT (SELECT count(*) FROM ${source}), pg_snapshot_xmin(pg_current_snapshot())::text::bigint
  ON CONFLICT (one) DO NOTHING`,
    readProgress: `
  SELECT p.started_at::text, p.finished_at::text, p.rows_expected::text, p.since::text, p.last_id::text, p.rows_read::text,
         p.rows_again::text, p.batches, p.copied, p.busy_ms, p.locked_ms, p.size_before::text, p.size_after::text,
         p.failed_batch, p.failed_id, p.failed_state, p.failed_on, p.foreign_keys
  FROM ${progress} AS p`,
    hasProgress: `SELECT to_regclass('${progress.replaceAll("'", "''")}') IS NOT NULL AS found`,
    advance: `UPDATE ${progress} SET since = $1::bigint, rows_again = rows_again + $2::bigint, busy_ms = busy_ms + $3::double precision`,
    spent: `UPDATE ${progress} SET busy_ms = busy_ms + $1::double precision`,
    fail: `UPDATE ${progress} SET failed_batch = $1::integer, failed_id = $2::integer, failed_state = $3::text, failed_on = $4::text`,
    finish: `
  UPDATE ${progress}
  SET finished_at = clock_timestamp(), rows_again = rows_again + $1::bigint, locked_ms = $2::double precision,
      failed_batch = NULL, failed_id = NULL, failed_state = NULL, failed_on = NULL`,
    measure: `UPDATE ${progress} SET size_after = pg_database_size(current_database())`,

    /** Statements that make and drop the foreign keys among the org tables; names come out qualified. */
    foreignKeys: `
  SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid)) AS add,
         format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::regclass, c.conname) AS drop
  FROM pg_catalog.pg_constraint AS c
  WHERE c.contype = 'f' AND c.conrelid = ANY ($TABLES) AND c.confrelid = ANY ($TABLES)
  ORDER BY c.conrelid::regclass::text, c.conname`.replaceAll(
      '$TABLES',
      `ARRAY[${['role', 'org', 'user', 'org_user', 'settings'].map((name) => `'${org(name).replaceAll("'", "''")}'::regclass`).join(', ')}]`,
    ),
    keepForeignKeys: `UPDATE ${progress} SET foreign_keys = $1::text[]`,
    dropProgress: `DROP TABLE IF EXISTS ${progress}`,

    /** Org tables that hold rows before anything was moved. */
    occupied: `
  SELECT coalesce(string_agg(t.name, ', '), '') AS names
  FROM (SELECT 'org' WHERE EXISTS (SELECT FROM ${org('org')})
        UNION ALL SELECT 'user' WHERE EXISTS (SELECT FROM ${org('user')})
        UNION ALL SELECT 'org_user' WHERE EXISTS (SELECT FROM ${org('org_user')})
        UNION ALL SELECT 'settings' WHERE EXISTS (SELECT FROM ${org('settings')})) AS t(name)`,

    lock: `LOCK TABLE ${source} IN SHARE ROW EXCLUSIVE MODE`,

    /** Explicit ids do not advance a sequence: new rows continue above the highest id of any of the tables. */
    alignSequence: (table: 'org' | 'user' | 'settings') => `
  SELECT setval(pg_get_serial_sequence('${org(table).replaceAll("'", "''")}', 'id'), h.highest)
  FROM (SELECT greatest((SELECT max("id") FROM ${source}), (SELECT max("id") FROM ${org('org')}),
                        (SELECT max("id") FROM ${org('user')}), (SELECT max("id") FROM ${org('settings')})) AS highest) AS h
  WHERE h.highest > 0`,
    alignRoles: `
  SELECT setval(pg_get_serial_sequence('${org('role').replaceAll("'", "''")}', 'id'), (SELECT max(id) FROM ${org('role')}))`,

    analyze: ['role', 'org', 'user', 'org_user', 'settings'].map((name) => `ANALYZE ${org(name)}`),

    empty: `TRUNCATE ${['settings', 'org_user', 'user', 'org', 'role'].map(org).join(', ')} RESTART IDENTITY`,

    /** What taking 057 back deletes; `apart` are users whom user_settings does not have. */
    holdings: `
  SELECT (SELECT count(*)::text FROM ${org('role')}) AS role, (SELECT count(*)::text FROM ${org('org')}) AS org,
         (SELECT count(*)::text FROM ${org('user')}) AS user, (SELECT count(*)::text FROM ${org('org_user')}) AS org_user,
         (SELECT count(*)::text FROM ${org('settings')}) AS settings,
         (SELECT count(*)::text FROM ${org('user')} AS u
          WHERE NOT EXISTS (SELECT FROM ${source} AS us WHERE us."id" = u."id")) AS apart`,
  };
}

export type Statements = ReturnType<typeof statementsOf>;
