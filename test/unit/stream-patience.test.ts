import { expect, test } from 'vitest';
import { Patience } from '../../orchestrator/stream/patience.ts';

const ABORTED = AbortSignal.abort();

test('an unexplained error is met four times in a row, and anew after something was stored', () => {
  const patience = new Patience();
  const four = () => [1, 2, 3, 4].map(() => patience.endsWith('again'));
  expect(four()).toEqual([false, false, false, false]);
  patience.renew();
  expect(four()).toEqual([false, false, false, false]);
  expect(patience.endsWith('retry')).toBe(false);
  expect(patience.endsWith('again')).toBe(true);
});

test('a fatal error ends the stream at once, a lost connection never', () => {
  expect(new Patience().endsWith('fatal')).toBe(true);
  const patience = new Patience();
  expect(Array.from({ length: 20 }, () => patience.endsWith('retry'))).not.toContain(true);
});

test('each wait is twice as long as the one before, up to ten seconds', async () => {
  const patience = new Patience();
  const waits: number[] = [];
  for (let n = 0; n < 9; n += 1) {
    waits.push(patience.backoffMs);
    await patience.wait(ABORTED);
  }
  expect(waits).toEqual([100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
});
