import { afterEach, beforeEach, expect, test } from 'vitest';
import { type OwnPair, ownPair } from '../support/databases.ts';
import { bothSides, type ForwardStream, forwardStream } from '../support/forward-stream.ts';
import { execute, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

let pair: OwnPair;
let stream: ForwardStream | undefined;

beforeEach(async () => {
  pair = await ownPair();
  await execute(
    pair.blue.urls.app,
    `INSERT INTO user_settings (id, keycloak_user_id, user_version) SELECT n, 'k' || n, 0 FROM generate_series(1, 100) n`,
  );
});

afterEach(async () => {
  await stream?.stop();
  stream = undefined;
  await pair.drop();
});

test('servers that are killed and restarted under load: every acknowledged write arrives once', async () => {
  stream = await forwardStream(pair, { maxChanges: 50 });
  const { applier } = stream;
  let writing = true;
  const acknowledged = Array.from({ length: 101 }, () => 0);
  const load = Promise.all(
    [0, 1, 2].map(async (writer) => {
      for (let n = 0; writing; n++) {
        const id = 1 + writer * 30 + (n % 30);
        // A connection of its own each time: the server comes and goes.
        await withClient(pair.blue.urls.app, async (client) => {
          const { rows } = await client.query<{ user_version: number }>(
            'UPDATE user_settings SET user_version = user_version + 1 WHERE id = $1 RETURNING user_version',
            [id],
          );
          acknowledged[id] = rows[0]?.user_version ?? 0;
        }).catch(() => undefined);
      }
    }),
  );
  for (const crash of [
    () => pair.servers.green.kill9().then(() => pair.servers.green.start()),
    () => pair.servers.blue.restartImmediate(),
    () => pair.servers.green.restartImmediate(),
    () => Promise.all([pair.servers.green.restartImmediate(), pair.servers.blue.restartImmediate()]),
  ]) {
    const before = applier.status;
    await until('some progress', () => applier.status.appliedChanges > before.appliedChanges + 30);
    await crash();
    await until(
      'a connection',
      () => applier.status.reconnects > before.reconnects && applier.status.connected,
      60_000,
    );
  }
  writing = false;
  await load;
  await stream.drained();
  const { blue, green } = await bothSides(pair);
  expect(blue).toHaveLength(100);
  expect(green).toEqual(blue);
  const versions = blue.map((line) => (JSON.parse(line) as string[])[4]);
  expect(acknowledged.reduce((sum, n) => sum + n)).toBeGreaterThan(50);
  for (let id = 1; id <= 100; id++)
    expect(Number(versions[id - 1])).toBeGreaterThanOrEqual(acknowledged[id] ?? 0);
});
