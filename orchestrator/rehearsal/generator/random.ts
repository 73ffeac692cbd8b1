/**
 * A small seeded generator (sfc32, public domain, C. Doty-Humphrey): the same seed gives the same rows on every
 * machine and every version of Node.
 */
export interface Random {
  /** @returns a number in [0, 1). */
  next(): number;
  /** @returns an integer in [low, high]. */
  between(low: number, high: number): number;
  /** @returns true with probability `share`. */
  chance(share: number): boolean;
  /** @returns one of `from`. */
  pick<T>(from: readonly T[]): T;
  /** @returns `length` characters of the URL-safe base64 alphabet: they hardly compress. */
  secret(length: number): string;
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** Spreads a seed of any text over four words (cyrb128). */
function words(seed: string): [number, number, number, number] {
  let [a, b, c, d] = [1779033703, 3144134277, 1013904242, 2773480762];
  for (let i = 0; i < seed.length; i += 1) {
    const k = seed.charCodeAt(i);
    a = b ^ Math.imul(a ^ k, 597399067);
    b = c ^ Math.imul(b ^ k, 2869860233);
    c = d ^ Math.imul(c ^ k, 951274213);
    d = a ^ Math.imul(d ^ k, 2716044179);
  }
  return [a >>> 0, b >>> 0, c >>> 0, d >>> 0];
}

/** @param seed any number or text. */
export function createRandom(seed: number | string): Random {
  let [a, b, c, d] = words(String(seed));
  const word = (): number => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return t >>> 0;
  };
  for (let i = 0; i < 16; i += 1) word();

  const next = (): number => word() / 4_294_967_296;
  return {
    next,
    between: (low, high) => low + Math.floor(next() * (high - low + 1)),
    chance: (share) => next() < share,
    pick: (from) => {
      const found = from[Math.floor(next() * from.length)];
      if (found === undefined) throw new RangeError('nothing to pick from');
      return found;
    },
    secret: (length) => {
      let text = '';
      // Five characters of six bits a word.
      while (text.length < length) {
        let bits = word();
        for (let i = 0; i < 5; i += 1) {
          text += ALPHABET[bits & 63];
          bits >>>= 6;
        }
      }
      return text.slice(0, length);
    },
  };
}
