import { expect, test } from 'vitest';
import { ByteQueue } from '../../orchestrator/stream/byte-queue.ts';

const read = (queue: ByteQueue, length: number) =>
  queue.block?.subarray(queue.start, queue.start + length).toString('latin1');

test('messages come out as they went in, over many blocks, larger than a block, and with blocks used again', () => {
  const queue = new ByteQueue();
  const went: string[] = [];
  const came: (string | undefined)[] = [];
  const source = (n: number) =>
    `${n}:`.padEnd(n % 97 === 0 ? 300_000 : 1 + ((n * 7919) % 5_000), String.fromCharCode(97 + (n % 26)));
  const drain = (left: number) => {
    while (went.length - came.length > left) {
      const length = went[came.length]?.length ?? 0;
      came.push(`${queue.time} ${read(queue, length)}`);
      came.splice(-1, 1, queue.take() === length ? came.at(-1) : 'another size');
    }
  };
  for (let n = 0; n < 3_000; n++) {
    const text = source(n);
    queue.push(Buffer.from(`head${text}`, 'latin1'), 4, n);
    went.push(text);
    // In bursts, so that the queue is long, short and empty by turns.
    if (n % 100 === 99) drain(n % 300 === 299 ? 0 : 40);
  }
  drain(0);
  expect(came).toHaveLength(3_000);
  expect(came.every((text, n) => text === `${n} ${went[n]}`)).toBe(true);
  expect([queue.empty, queue.bytes, queue.block, queue.last]).toEqual([true, 0, undefined, undefined]);
});

test('the newest message can be changed where it is', () => {
  const queue = new ByteQueue();
  queue.push(Buffer.from('one'), 0, 0);
  queue.push(Buffer.from('two'), 0, 0);
  queue.last?.block.set(Buffer.from('TWO'), queue.last.start);
  queue.take();
  expect(read(queue, 3)).toBe('TWO');
});
