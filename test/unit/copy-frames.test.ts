import { describe, expect, it } from 'vitest';
import { CopyFrames } from '../../orchestrator/copy/frames.ts';

const message = (type: string, body: Buffer | string): Buffer => {
  const bytes = Buffer.from(body);
  const head = Buffer.alloc(5);
  head.write(type, 0, 'latin1');
  head.writeUInt32BE(bytes.length + 4, 1);
  return Buffer.concat([head, bytes]);
};

const rows = [
  message('d', 'first'),
  message('d', ''),
  message('d', Buffer.from([0x63, 0, 0, 0, 4, 0x45, 0, 0, 0, 9])),
  message('d', Buffer.alloc(40, 0x64)),
];
const opening = message('H', Buffer.from([1, 0, 0]));
const closing = Buffer.concat([message('C', 'COPY 4\0'), message('Z', 'T')]);

/** Feeds the bytes in pieces. @returns what was forwarded, what was left for the driver, and how it ended. */
function feed(bytes: Buffer, cuts: readonly number[]): { data: string; rest: string; done: boolean } {
  const frames = new CopyFrames();
  const data: Buffer[] = [];
  const rest: Buffer[] = [];
  let ended = false;
  let done = false;
  let from = 0;
  for (const to of [...cuts, bytes.length]) {
    const piece = bytes.subarray(from, to);
    from = to;
    if (ended) {
      rest.push(piece);
      continue;
    }
    const scanned = frames.scan(piece);
    data.push(...scanned.data);
    if (scanned.rest !== undefined) {
      ended = true;
      done = scanned.done;
      rest.push(scanned.rest);
    }
  }
  return { data: Buffer.concat(data).toString('latin1'), rest: Buffer.concat(rest).toString('latin1'), done };
}

describe('the messages of a COPY', () => {
  const whole = Buffer.concat([
    opening,
    rows[0] as Buffer,
    message('N', 'SWARNING\0\0'),
    ...rows.slice(1),
    message('S', 'name\0value\0'),
    message('c', ''),
    closing,
  ]);
  const expected = {
    data: Buffer.concat(rows).toString('latin1'),
    rest: closing.toString('latin1'),
    done: true,
  };

  it('are forwarded as they came, headers included, and nothing else is', () => {
    expect(feed(whole, [])).toEqual(expected);
  });

  it('may be cut anywhere, once or twice', () => {
    for (let first = 0; first <= whole.length; first++) {
      expect(feed(whole, [first])).toEqual(expected);
      for (let second = first; second <= whole.length; second += 7)
        expect(feed(whole, [first, second])).toEqual(expected);
    }
  });

  it('may come byte by byte', () => {
    expect(feed(whole, [...whole.keys()])).toEqual(expected);
  });

  it('end with an error, which is left for the driver whole', () => {
    const error = message('E', 'SERROR\0C57P01\0\0');
    const broken = Buffer.concat([opening, rows[0] as Buffer, error, message('Z', 'E')]);
    for (let cut = 0; cut <= broken.length; cut++)
      expect(feed(broken, [cut])).toEqual({
        data: rows[0]?.toString('latin1'),
        rest: Buffer.concat([error, message('Z', 'E')]).toString('latin1'),
        done: false,
      });
  });
});
