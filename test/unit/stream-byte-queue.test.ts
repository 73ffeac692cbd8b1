import { expect, test } from 'vitest';
import { ByteQueue } from '../../orchestrator/stream/byte-queue.ts';
import { Frames } from '../../orchestrator/stream/frames.ts';

const read = (queue: ByteQueue, nth = 0) =>
  queue.block(nth)?.subarray(queue.start(nth), queue.end(nth)).toString('latin1');

/** One message of the server. */
const frame = (kind: string, content: string): Buffer => {
  const message = Buffer.alloc(5 + content.length);
  message.write(kind, 'latin1');
  message.writeUInt32BE(4 + content.length, 1);
  message.write(content, 5, 'latin1');
  return message;
};

test('messages come out as they went in, whatever chunks they came in', () => {
  const went: string[] = [];
  const all: Buffer[] = [];
  for (let n = 0; n < 3_000; n++) {
    const content = `${n}:`.padEnd(
      n % 997 === 0 ? 300_000 : (n * 7919) % (n % 3 === 0 ? 5_000 : 30),
      String.fromCharCode(97 + (n % 26)),
    );
    const kind = n % 50 === 7 ? 'N' : 'd';
    went.push(`${kind} ${content}`);
    all.push(frame(kind, content));
  }
  const bytes = Buffer.concat(all);
  // Chunks of one byte, of a few, of many messages, and of parts of one.
  for (const size of [1, 3, 4, 5, 6, 17, 4_096, 65_536, bytes.length]) {
    const queue = new ByteQueue();
    const came: string[] = [];
    const drain = (left: number) => {
      while (queue.length > left) {
        const text = read(queue) ?? '';
        came.push(queue.take() === text.length ? `d ${text}` : 'another size');
      }
    };
    const frames = new Frames({
      copyData: (block, start, end) => {
        queue.push(block, start, end, 0);
        // In bursts, so that the queue is long, short and empty by turns.
        if (queue.length > 100) drain(came.length % 300 === 0 ? 0 : 40);
      },
      other: (message) => {
        drain(0);
        came.push(`${message.toString('latin1', 0, 1)} ${message.toString('latin1', 5)}`);
        expect(message.readUInt32BE(1)).toBe(message.length - 1);
      },
    });
    const some = size < 100 ? bytes.subarray(0, 310_000) : bytes;
    for (let at = 0; at < some.length; at += size) frames.read(some.subarray(at, at + size));
    drain(0);
    expect(came.length).toBeGreaterThan(size < 100 ? 10 : went.length - 1);
    expect(came.every((text, n) => text === went[n])).toBe(true);
    expect([queue.empty, queue.bytes, queue.block()]).toEqual([true, 0, undefined]);
  }
});

test('messages behind the oldest can be read before it is taken', () => {
  const queue = new ByteQueue();
  const block = Buffer.from('onetwothree');
  queue.push(block, 0, 3, 1);
  queue.push(block, 3, 6, 2);
  queue.push(block, 6, 11, 3);
  expect([read(queue, 1), read(queue, 2), queue.time, queue.length, queue.bytes]).toEqual([
    'two',
    'three',
    1,
    3,
    11,
  ]);
  expect(queue.take()).toBe(3);
  expect([read(queue), read(queue, 1), read(queue, 2), queue.time]).toEqual(['two', 'three', undefined, 2]);
});
