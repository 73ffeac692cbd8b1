import { afterEach, beforeEach, expect, test } from 'vitest';
import { type OwnPair, ownPair } from '../support/databases.ts';
import { bothSides, type ForwardStream, forwardStream } from '../support/forward-stream.ts';
import { until } from '../support/until.ts';

let pair: OwnPair;
let stream: ForwardStream | undefined;

beforeEach(async () => {
  pair = await ownPair();
});

afterEach(async () => {
  await stream?.stop();
  stream = undefined;
  await pair.drop();
});

const write = (from: number, to: number) => `
  INSERT INTO user_settings (id, keycloak_user_id, llm_api_key)
  SELECT n, 'k' || n, repeat(md5(n::text), 10) FROM generate_series(${from}, ${to}) n`;

test('038_walsnd_shutdown_timeout: blue that is shut down in order ends by itself', async () => {
  const { blue } = pair.servers;
  stream = await forwardStream(pair, { maxChanges: 100 });
  const { applier } = stream;
  for (let n = 0; n < 20; n++) await stream.blue(write(n * 500 + 1, n * 500 + 500));
  // Its walsender ends only when everything it sent is confirmed: what is on its way is still applied meanwhile.
  await blue.stop('fast');
  const log = await blue.logTail(20);
  expect(log).toContain('database system is shut down');
  // What `stop` turns to when it takes too long.
  expect(log).not.toContain('immediate shutdown');
  await until('the interruption to be noticed', () => !applier.status.connected);
  await blue.start();
  await until('the stream to run again', () => applier.status.connected, 60_000);
  await stream.blue(write(20_001, 20_100));
  await stream.drained(60_000);
  const sides = await bothSides(pair);
  expect(sides.blue).toHaveLength(10_100);
  expect(sides.green).toEqual(sides.blue);
});
