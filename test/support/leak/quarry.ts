/** What must turn up nowhere, and every form in which it could: plain, encoded, quoted, escaped. */

/** Something to be sought: a password, or the value of a row. */
export interface Sought {
  /** What it is, for the report of a find: the report must not be a leak itself. */
  readonly name: string;
  readonly text: string;
}

/** One form of it, as it would stand in an output. */
export interface Form {
  readonly name: string;
  readonly encoding: string;
  readonly text: string;
}

/** Shorter than this a form would be found by chance. */
const SHORTEST = 6;

/**
 * Base64 has three forms, by where in a group of three bytes the text begins; of each the characters at the edges
 * depend on the neighbours and are left out.
 */
function base64Cores(text: string): string[] {
  const bytes = Buffer.from(text);
  return [0, 1, 2].map((before) => {
    const whole = Buffer.concat([Buffer.alloc(before), bytes])
      .toString('base64')
      .replaceAll('=', '');
    const tail = (before + bytes.length) % 3 === 0 ? undefined : -1;
    return whole.slice(before === 0 ? 0 : before + 1, tail);
  });
}

const percent = (text: string, lower: boolean): string =>
  [...Buffer.from(text)]
    .map((byte) => {
      const char = String.fromCharCode(byte);
      const hex = byte.toString(16).padStart(2, '0');
      return /[A-Za-z0-9_.~-]/.test(char) ? char : `%${lower ? hex : hex.toUpperCase()}`;
    })
    .join('');

const unicodeEscaped = (text: string): string =>
  text.replaceAll(/[^ -~]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);

const json = (text: string): string => JSON.stringify(text).slice(1, -1);

/** How a text could be written down, by the name of the encoding. */
export const ENCODINGS: Readonly<Record<string, (text: string) => readonly string[]>> = {
  plain: (text) => [text],
  'percent-encoded': (text) => [
    encodeURIComponent(text),
    encodeURI(text),
    percent(text, false),
    percent(text, true),
  ],
  'form-encoded': (text) => [new URLSearchParams([['', text]]).toString().slice(1)],
  base64: base64Cores,
  base64url: (text) => base64Cores(text).map((core) => core.replaceAll('+', '-').replaceAll('/', '_')),
  hex: (text) => [Buffer.from(text).toString('hex'), Buffer.from(text).toString('hex').toUpperCase()],
  JSON: (text) => [json(text), json(json(text)), unicodeEscaped(json(text))],
  SQL: (text) => [text.replaceAll("'", "''"), text.replaceAll('\\', '\\\\').replaceAll("'", "''")],
  HTML: (text) => {
    const base = text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
    const quoted = base.replaceAll('"', '&quot;');
    return [base, quoted, quoted.replaceAll("'", '&#39;'), quoted.replaceAll("'", '&#x27;')];
  },
  inspected: (text) => [`'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`.slice(1, -1)],
  'password file': (text) => [text.replaceAll(/[\\:]/g, '\\$&')],
};

/** @returns every form of everything, each text once. @throws Error when a text is too short to be looked for. */
export function formsOf(sought: readonly Sought[]): Form[] {
  const forms = new Map<string, Form>();
  for (const { name, text } of sought) {
    if (text.length < SHORTEST) throw new Error(`${name} is too short to be looked for`);
    for (const [encoding, encode] of Object.entries(ENCODINGS))
      for (const form of encode(text))
        if (form.length >= SHORTEST && !forms.has(form)) forms.set(form, { name, encoding, text: form });
  }
  return [...forms.values()];
}
