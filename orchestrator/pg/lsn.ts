/** A position in a server's write-ahead log, as the 64-bit number behind `X/Y`. Compare only as bigint: the text is padded unevenly. */
export type Lsn = bigint;

/** Parses `X/Y` (zero-padded or not). @throws RangeError when it is no LSN. */
export function parseLsn(text: string): Lsn {
  const m = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text);
  if (!m) throw new RangeError(`not an LSN: ${text}`);
  return (BigInt(`0x${m[1]}`) << 32n) | BigInt(`0x${m[2]}`);
}

/** Prints an LSN the way PostgreSQL does. */
export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`;
}
