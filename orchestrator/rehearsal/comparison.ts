import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { Side } from '../pg/side.ts';
import { type Difference, NothingToCompare } from './comparison/difference.ts';
import { type Meeting, meet, streamDigests } from './comparison/row-stream.ts';
import { FACT_COLUMNS, greenTableOf, type SourceForm, sourceForm } from './comparison/source-form.ts';
import { compareStructure } from './comparison/structure.ts';
import { type Database, openTextSession } from './connection.ts';
import { digestSql } from './ledger/event.ts';
import type { SourceColumn } from './source-columns.ts';

export interface CompareRequest {
  /** Both sides, with roles that may read the tables and, on green, schema `orchestrator`. */
  readonly databases: Readonly<Record<Side, Database>>;
  /** The application's schema on each side; default `public`. */
  readonly schemas?: Partial<Record<Side, string>>;
  /** Who serves: while blue does, no key that somebody has may be without a mapped user. */
  readonly serving: Side;
  /** Has the application written to green as green? Then names, roles and further rows are green's own business. */
  readonly greenWritten: boolean;
  /** How long differences may last that a stream is still carrying over; default 10 s. Stop the writers before. */
  readonly settleMs?: number;
}

export interface Comparison {
  readonly clean: boolean;
  readonly blueRows: number;
  readonly mapped: number;
  readonly parked: number;
  /** Rows of blue that green need not have, where green's parked table is gone: no key, or one that others have. */
  readonly listed: readonly number[];
  /** At most 1,000 of them; `total` counts all. */
  readonly differences: readonly Difference[];
  readonly total: number;
  readonly seconds: number;
}

const MOST_DIFFERENCES = 1_000;

interface Ends {
  readonly blue: pg.Client;
  readonly green: pg.Client;
  readonly forms: Readonly<Record<Side, SourceForm>>;
}

/**
 * Compares blue with green, row by row and in both directions, by SQL of its own.
 *
 * Every row of `user_settings` must be on green, mapped or parked, text for text, and green may have no others; and
 * every user's own organisation, membership and settings row must be there.
 * @throws NothingToCompare when a side has no rows.
 */
export async function compareSides(request: CompareRequest): Promise<Comparison> {
  const began = performance.now();
  const blue = await openTextSession(request.databases.blue, 'comparison', request.schemas?.blue ?? 'public');
  try {
    const green = await openTextSession(
      request.databases.green,
      'comparison',
      request.schemas?.green ?? 'public',
    );
    try {
      const forms = {
        blue: await sourceForm(blue, 'blue', true),
        green: await sourceForm(green, 'green', true),
      };
      const compared = await compareRows({ blue, green, forms }, request.settleMs ?? 10_000);
      const structure = await compareStructure(green, {
        form: forms.green,
        constants: !request.greenWritten,
        noVacantKeys: request.serving === 'blue',
      });
      const total = compared.total + structure.length;
      return {
        ...compared,
        clean: total === 0,
        differences: [...compared.differences, ...structure].slice(0, MOST_DIFFERENCES),
        total,
        seconds: (performance.now() - began) / 1_000,
      };
    } finally {
      await green.end();
    }
  } finally {
    await blue.end();
  }
}

type RowComparison = Omit<Comparison, 'clean' | 'seconds'>;

async function compareRows(ends: Ends, settleMs: number): Promise<RowComparison> {
  let [blueRows, mapped, parked, total] = [0, 0, 0, 0];
  const suspects: number[] = [];
  for await (const meeting of meet(
    streamDigests(ends.blue, ends.forms.blue.rows),
    streamDigests(ends.green, ends.forms.green.rows),
  )) {
    blueRows += meeting.blue.length;
    const aside = meeting.green.filter(({ home }) => home === 'parked').length;
    parked += aside;
    mapped += meeting.green.length - aside;
    if (equal(meeting)) continue;
    total += 1;
    if (suspects.length < MOST_DIFFERENCES) suspects.push(meeting.id);
  }
  if (blueRows === 0) throw new NothingToCompare('blue has no rows in user_settings');
  if (mapped === 0) throw new NothingToCompare('green has no users');

  const deadline = performance.now() + settleMs;
  let listed: number[] = [];
  let differences: Difference[] = [];
  for (;;) {
    ({ differences, listed } = await explain(ends, suspects));
    // More than can be followed one by one are no stream's last changes.
    if (differences.length === 0 || total > MOST_DIFFERENCES || performance.now() > deadline) break;
    await delay(100);
  }
  const hidden = total - suspects.length;
  const ids = new Set(differences.map((d) => d.key));
  return { blueRows, mapped, parked, listed, differences, total: hidden + ids.size };
}

function equal({ blue, green }: Meeting): boolean {
  return blue.length === 1 && green.length === 1 && blue[0]?.hash === green[0]?.hash;
}

type ColumnDigests = { readonly id: string; readonly home: string } & Readonly<Record<SourceColumn, string>>;

const digestsOf = (rows: string): string => `
  SELECT id::text AS id, home, ${FACT_COLUMNS.map((c) => `${digestSql(c)} AS ${c}`).join(', ')}
  FROM (${rows}) AS source
  WHERE source.id = ANY ($1::integer[])
  ORDER BY source.id`;

/** Rows without a mapped user that are not owed one: no key, or a key that another row has. */
const KEYLESS_OR_SHARED = `
  SELECT id FROM user_settings AS us
  WHERE id = ANY ($1::integer[])
    AND (keycloak_user_id IS NULL OR keycloak_user_id = ''
         OR EXISTS (SELECT FROM user_settings AS other
                    WHERE other.keycloak_user_id = us.keycloak_user_id AND other.id <> us.id))`;

/** Looks at single rows again, column by column: what still differs, and where. */
async function explain(
  ends: Ends,
  ids: readonly number[],
): Promise<{ differences: Difference[]; listed: number[] }> {
  if (ids.length === 0) return { differences: [], listed: [] };
  const [blue, green] = await Promise.all([
    ends.blue.query<ColumnDigests>(digestsOf(ends.forms.blue.rows), [ids]),
    ends.green.query<ColumnDigests>(digestsOf(ends.forms.green.rows), [ids]),
  ]);
  const excused = ends.forms.green.hasParked
    ? new Set<number>()
    : new Set((await ends.blue.query<{ id: number }>(KEYLESS_OR_SHARED, [ids])).rows.map((r) => r.id));
  const differences: Difference[] = [];
  const listed: number[] = [];
  for (const key of ids) {
    const here = blue.rows.find((r) => r.id === String(key));
    const there = green.rows.filter((r) => r.id === String(key));
    const [image] = there;
    if (there.length > 1) differences.push({ kind: 'twice', key, table: 'user', columns: [] });
    else if (here === undefined && image === undefined) continue;
    else if (here === undefined && image !== undefined)
      differences.push({ kind: 'extra', key, table: image.home, columns: [] });
    else if (here !== undefined && image === undefined) {
      if (excused.has(key)) listed.push(key);
      else differences.push({ kind: 'missing', key, table: 'user_settings', columns: [] });
    } else if (here !== undefined && image !== undefined) {
      for (const [table, columns] of byTable(here, image))
        differences.push({ kind: 'different', key, table, columns });
    }
  }
  return { differences, listed };
}

function byTable(here: ColumnDigests, there: ColumnDigests): Map<string, SourceColumn[]> {
  const tables = new Map<string, SourceColumn[]>();
  for (const column of FACT_COLUMNS) {
    if (here[column] === there[column]) continue;
    const table = there.home === 'parked' ? 'parked' : greenTableOf(column);
    tables.set(table, [...(tables.get(table) ?? []), column]);
  }
  return tables;
}
