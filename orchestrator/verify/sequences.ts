import type { ClientBase } from 'pg';
import type { Side } from '../pg/side.ts';
import type { Context } from '../state/context.ts';

/**
 * Ids this close to the end of a sequence are taken for marks set by hand: raising a sequence to them would leave no
 * room for the next sign-up. The sequence stays below, as it did on the side that holds such an id.
 */
export const RESERVED_AT_TOP = 1_000_000n;

/** The tables whose ids must never collide after a handover (DESIGN 7, step 5). */
function idTables(ctx: Pick<Context, 'relations'>, side: Side): readonly string[] {
  const r = ctx.relations;
  return side === 'blue' ? [r.userSettings] : [r.user, r.org, r.settings];
}

/** One id column and the sequence it takes its values from: its own, or the one its default names. */
interface IdSequence {
  readonly relation: string;
  /** Quoted and qualified; null where there is none. */
  readonly sequence: string | null;
  /** Null when it cannot be read. */
  readonly last: string | null;
  readonly max: string | null;
  readonly settable: boolean;
}

const SEQUENCES = `
  SELECT w.relation,
         q.oid::regclass::text AS sequence,
         CASE WHEN has_sequence_privilege(q.oid, 'SELECT') THEN coalesce(pg_sequence_last_value(q.oid), s.seqstart - 1) END::text
           AS last,
         s.seqmax::text AS max,
         coalesce(s.seqincrement > 0
                  AND has_sequence_privilege(q.oid, 'UPDATE') AND has_sequence_privilege(q.oid, 'SELECT'), false)
           AS settable
  FROM unnest($1::text[]) AS w(relation)
  LEFT JOIN LATERAL (
    SELECT d.oid
    FROM (
      SELECT pg_get_serial_sequence(w.relation, 'id')::regclass::oid AS oid, 1 AS choice
      UNION ALL
      SELECT p.refobjid, 2
      FROM pg_attrdef AS e
      JOIN pg_attribute AS a ON a.attrelid = e.adrelid AND a.attnum = e.adnum AND a.attname = 'id'
      JOIN pg_depend AS p ON p.classid = 'pg_attrdef'::regclass AND p.objid = e.oid
                         AND p.refclassid = 'pg_class'::regclass
      JOIN pg_class AS c ON c.oid = p.refobjid AND c.relkind = 'S'
      WHERE e.adrelid = to_regclass(w.relation)) AS d
    WHERE d.oid IS NOT NULL
    ORDER BY d.choice
    LIMIT 1) AS q ON true
  LEFT JOIN pg_sequence AS s ON s.seqrelid = q.oid`;

async function sequencesOf(
  client: ClientBase,
  ctx: Pick<Context, 'relations'>,
  side: Side,
): Promise<IdSequence[]> {
  const { rows } = await client.query<IdSequence>(SEQUENCES, [idTables(ctx, side)]);
  return rows;
}

/** The highest id of some tables; `$1` those above it do not count. */
const highestSql = (relations: readonly string[]) => `
  SELECT greatest(0, ${relations
    .map((relation) => `(SELECT max("id") FROM ${relation} WHERE "id" <= $1::bigint)`)
    .join(', ')})::text AS id`;

/** As many values as nobody takes between the two halves of a statement. */
const NEAR = 1_000;

/**
 * Never lowers: whoever took a value meanwhile keeps it. Between looking and `setval` others take values, and those
 * would be handed out again; where a few values are all that lacks they are taken, as everybody takes them. A session
 * of ours may hold values of before (CACHE), so as many more are taken. `$1` the sequences, each once, `$2` where they
 * must at least stand.
 */
const RAISE = `
  SELECT CASE
           WHEN $2::bigint - l.last > ${NEAR} * s.seqincrement THEN setval(s.seqrelid, $2::bigint)
           ELSE (SELECT max(t.value)
                 FROM (SELECT nextval(s.seqrelid) AS value
                       FROM generate_series(
                         1, ceil(($2::bigint - l.last)::numeric / s.seqincrement)::bigint + s.seqcache - 1)) AS t)
         END
  FROM pg_sequence AS s
  CROSS JOIN LATERAL (SELECT coalesce(pg_sequence_last_value(s.seqrelid), s.seqstart - 1) AS last OFFSET 0) AS l
  WHERE s.seqrelid = ANY ($1::regclass[]) AND l.last < $2::bigint`;

/**
 * @returns the id columns whose sequence is unknown, cannot be set by us, or is about to run out; empty is good.
 * For the gate `sequences`: what it lists, `alignSequences` could not align.
 */
export async function sequencesKnown(
  blue: ClientBase,
  green: ClientBase,
  ctx: Pick<Context, 'relations'>,
): Promise<string[]> {
  const all = [
    ...(await sequencesOf(blue, ctx, 'blue')).map((s) => ({ side: 'blue', ...s })),
    ...(await sequencesOf(green, ctx, 'green')).map((s) => ({ side: 'green', ...s })),
  ];
  return all.flatMap((s) => {
    const name = `${s.side} ${s.relation}.id`;
    if (s.sequence === null) return [`${name} has no sequence`];
    if (!s.settable) return [`${name}: ${s.sequence} cannot be set by the sync role`];
    if (s.last !== null && s.max !== null && BigInt(s.last) >= BigInt(s.max))
      return [`${name}: ${s.sequence} has run out`];
    return [];
  });
}

/** Pure: where every sequence must at least stand, so that its next value is above all ids and all last values. */
export function commonFloor(highestIds: readonly bigint[], lastValues: readonly bigint[]): bigint {
  let floor = 0n;
  for (const value of [...highestIds, ...lastValues]) if (value > floor) floor = value;
  return floor;
}

/** Pure: the highest id that still leaves room above it. */
export function ceilingOf(maxima: readonly bigint[]): bigint {
  let lowest = 2n ** 63n - 1n;
  for (const value of maxima) if (value < lowest) lowest = value;
  return lowest > RESERVED_AT_TOP ? lowest - RESERVED_AT_TOP : lowest;
}

/**
 * Sets every sequence of both sides above the highest id and last value of all of user_settings, user, org and
 * settings (MAPPING, "Identity counters"). Takes effect at once, whatever becomes of the handover; never lowers.
 * @param blue a session of its own for each side, with nothing else to do meanwhile.
 * @returns the common floor.
 */
export async function alignSequences(
  blue: ClientBase,
  green: ClientBase,
  ctx: Pick<Context, 'relations'>,
): Promise<bigint> {
  // Both sides at once: this is done while writes are refused.
  const sides = await Promise.all([
    sequencesOf(blue, ctx, 'blue').then((own) => ({ client: blue, sequences: own })),
    sequencesOf(green, ctx, 'green').then((own) => ({ client: green, sequences: own })),
  ]);
  const sequences = sides.flatMap((s) => s.sequences);
  const ceiling = ceilingOf(sequences.flatMap((s) => (s.max === null ? [] : [BigInt(s.max)])));
  const highest = await Promise.all(
    sides.map(async ({ client, sequences: own }) => {
      const sql = highestSql(own.map((s) => s.relation));
      const { rows } = await client.query<{ id: string }>(sql, [ceiling.toString()]);
      return BigInt(rows[0]?.id ?? 0);
    }),
  );
  const floor = commonFloor(
    highest,
    sequences.map((s) => BigInt(s.last ?? 0)),
  );
  if (floor === 0n) return floor;
  await Promise.all(
    sides.map(async ({ client, sequences: own }) => {
      const settable = new Set(own.flatMap((s) => (s.settable && s.sequence !== null ? s.sequence : [])));
      await client.query(RAISE, [[...settable], floor.toString()]);
    }),
  );
  return floor;
}
