import { expect, test } from 'vitest';
import type { Change, Relation } from '../../orchestrator/stream/change.ts';
import { LookAhead } from '../../orchestrator/stream/look-ahead.ts';
import type { Queued } from '../../orchestrator/stream/tail.ts';

const relation: Relation = { oid: 1, schema: 'public', name: 't', identity: 'd', columns: [] };
const change = (id: number): Change => ({ kind: 'insert', relation, row: [String(id)] });
const begin: Queued = { kind: 'begin', finalLsn: 1n, commitMicros: 0n, xid: 1 };
const commit: Queued = { kind: 'commit', finalLsn: 1n, endLsn: 2n, commitMicros: 0n };

/** A tail whose messages are all there, and a sink that notes what it prepared. */
function world(messages: readonly (Queued | undefined)[], size = 10) {
  const prepared: (readonly Change[])[] = [];
  const tail = {
    position: 0,
    ahead: (position: number) =>
      position < messages.length ? { message: messages[position], size } : undefined,
  };
  const sink = {
    prepare: (changes: readonly Change[]) => {
      prepared.push([...changes]);
      return `prepared ${prepared.length}`;
    },
  };
  return { tail, prepared, look: new LookAhead(tail, sink, { changes: 3, bytes: 1_000 }) };
}

/** Work that lasts for so many turns of the event loop. */
const busy = async (turns = 20): Promise<string> => {
  for (let n = 0; n < turns; n++) await new Promise((resolve) => setImmediate(resolve));
  return 'done';
};

const changes = [1, 2, 3, 4, 5, 6].map(change);
const [a, b, c, d, e, f] = changes as [Change, Change, Change, Change, Change, Change];

test('what is prepared is handed out for exactly those changes, and only once', async () => {
  const { tail, prepared, look } = world([begin, a, commit, undefined, begin, b, c, d, commit, begin, e, f]);
  await expect(look.during(busy())).resolves.toBe('done');
  expect(prepared).toEqual([[a, b, c]]);
  expect(look.take([a, b, c])).toBe('prepared 1');
  expect(look.take([a, b, c])).toBeUndefined();
  tail.position = 7;
  await look.during(busy());
  expect(prepared).toEqual([
    [a, b, c],
    [d, e, f],
  ]);
});

test.each([
  ['fewer changes', [a, b]],
  ['more', [a, b, c, d]],
  ['others', [b, c, d]],
  ['equal ones that are not the same', [change(1), change(2), change(3)]],
])('%s get nothing that was prepared', async (_, applied) => {
  const { look } = world([begin, ...changes]);
  await look.during(busy());
  expect(look.take(applied)).toBeUndefined();
});

test('looking goes on where it stopped, whatever was taken from the tail meanwhile', async () => {
  const messages: Queued[] = [begin, a, commit];
  const { tail, look } = world(messages);
  await look.during(busy());
  messages.push(begin, b, c, d, e, f);
  tail.position = 3;
  await look.during(busy());
  expect(look.take([a, b, c])).toBe('prepared 1');
  // Passed over: taken before anybody looked at it.
  tail.position = 8;
  await look.during(busy());
  expect(look.take([f])).toBeUndefined();
});

test('nothing is prepared behind a table’s description or a TRUNCATE, nor beside a large row', async () => {
  for (const barrier of [
    { kind: 'relation', relation } satisfies Queued,
    { kind: 'truncate', relations: [relation] } satisfies Queued,
  ]) {
    const { look, prepared } = world([begin, a, barrier, b, c, d]);
    await look.during(busy());
    expect(prepared).toEqual([]);
    expect(look.take([a])).toBeUndefined();
  }
  const large = world([begin, a, b, c], 1_001);
  await large.look.during(busy());
  expect(large.prepared).toEqual([]);
});

test('an error of the work is the caller’s; one of the tail or the sink waits for its turn', async () => {
  const failing = world([begin, a, b, c]);
  await expect(failing.look.during(Promise.reject(new Error('of the work')))).rejects.toThrow('of the work');
  const broken = new LookAhead(
    {
      position: 0,
      ahead: () => {
        throw new Error('of the tail');
      },
    },
    { prepare: () => 'prepared' },
    { changes: 3, bytes: 1_000 },
  );
  await expect(broken.during(busy())).resolves.toBe('done');
  expect(broken.take([])).toBeUndefined();
});
