import { createInterface } from 'node:readline';
import type pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import { ROW_HASH } from './source-form.ts';

/** One row of one side, without its values. */
export interface RowDigest {
  readonly id: number;
  /** `user_settings`, `user` or `parked`. */
  readonly home: string;
  readonly hash: string;
}

/**
 * Streams one side in key order, hashed by its own server.
 *
 * Consume it to the end: a COPY TO that is left half-way blocks its session.
 */
export async function* streamDigests(client: pg.Client, rows: string): AsyncGenerator<RowDigest> {
  const source = client.query(
    copyTo(`COPY (SELECT id, home, ${ROW_HASH} FROM (${rows}) AS source ORDER BY id, home) TO STDOUT`),
  );
  // readline does not pass on an error of its input.
  let failed: Error | undefined;
  const lines = createInterface({ input: source, crlfDelay: Number.POSITIVE_INFINITY });
  source.on('error', (error: Error) => {
    failed = error;
    lines.close();
  });
  for await (const line of lines) {
    const [id = '', home = '', hash = ''] = line.split('\t');
    yield { id: Number(id), home, hash };
  }
  if (failed !== undefined) throw failed;
}

/** What stands at one id on the two sides. */
export interface Meeting {
  readonly id: number;
  readonly blue: readonly RowDigest[];
  readonly green: readonly RowDigest[];
}

async function* grouped(rows: AsyncGenerator<RowDigest>): AsyncGenerator<RowDigest[]> {
  let group: RowDigest[] = [];
  for await (const row of rows) {
    if (group.length > 0 && group[0]?.id !== row.id) {
      yield group;
      group = [];
    }
    group.push(row);
  }
  if (group.length > 0) yield group;
}

/** Walks two key-ordered streams side by side. */
export async function* meet(
  blue: AsyncGenerator<RowDigest>,
  green: AsyncGenerator<RowDigest>,
): AsyncGenerator<Meeting> {
  const [left, right] = [grouped(blue), grouped(green)];
  let [l, r] = await Promise.all([left.next(), right.next()]);
  while (!l.done || !r.done) {
    const leftId = l.done ? Number.POSITIVE_INFINITY : (l.value[0] as RowDigest).id;
    const rightId = r.done ? Number.POSITIVE_INFINITY : (r.value[0] as RowDigest).id;
    const id = Math.min(leftId, rightId);
    const [takesLeft, takesRight] = [leftId === id, rightId === id];
    yield {
      id,
      blue: takesLeft && !l.done ? l.value : [],
      green: takesRight && !r.done ? r.value : [],
    };
    [l, r] = await Promise.all([takesLeft ? left.next() : l, takesRight ? right.next() : r]);
  }
}
