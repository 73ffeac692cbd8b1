/**
 * Redaction, in one place: everything a person or a file gets to see of an error or a log line goes through `scrub`.
 * It is the second line of defence; the first is that secrets are never put into a message.
 */
const known = new Set<string>();

/** Shorter ones would black out ordinary words; such a password is none. */
const SHORTEST = 6;

/**
 * Remembers a secret, so that its text, plain or percent-encoded, is blacked out wherever it turns up.
 * @param except words that must stay readable, such as a user name that is also its own password.
 */
export function rememberSecret(text: string | undefined, except: readonly string[] = []): void {
  if (text === undefined || text.length < SHORTEST || except.includes(text)) return;
  known.add(text);
  known.add(encodeURIComponent(text));
  known.add(encodeURI(text));
  // As a JSON document or a quoted log field would show it.
  known.add(JSON.stringify(text).slice(1, -1));
}

/** Remembers a connection URL and the password in it, also one that the URL parser cannot read. */
export function rememberUrl(url: string): void {
  rememberSecret(url);
  const m = /^[^:]+:\/\/([^:@/?#]*):(.*)@[^@/]*/.exec(url);
  if (m?.[2] === undefined) return;
  const user = m[1] ?? '';
  rememberSecret(m[2], [user]);
  try {
    rememberSecret(decodeURIComponent(m[2]), [user, decodeURIComponent(user)]);
  } catch {
    // A malformed % sequence: the text as it stands is all there is.
  }
}

/** User and password in a URL, up to the last `@`: a password that was not encoded may hold any character. */
const URL_PASSWORD = /\b([a-z][a-z0-9+.-]*:\/\/)[^\s/?#"'@:]*:[^\s"']*@/gi;
const KEYWORD =
  /\b(password|passwd|pwd|sslpassword|passphrase)(\s*[=:]\s*)('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s&,;"']+)/gi;

/** @returns the text without any credential that can be recognised in it. */
export function scrub(text: string): string {
  let clean = text.replace(URL_PASSWORD, '$1***@').replace(KEYWORD, '$1$2***');
  for (const secret of known) clean = clean.replaceAll(secret, '***');
  return clean;
}

const SECRET_NAME =
  /password|passwd|secret|token|api_?key|authorization|connection_?string|(?:^|_)url$|Url$/i;

/**
 * A copy of a log line's fields that may be printed: secrets blacked out by name and by text, bigints as decimal
 * text (pino would round them), errors as code and message only (a driver's error can carry a row).
 */
export function printable(value: unknown, name = '', depth = 0): unknown {
  if (SECRET_NAME.test(name) && value !== null && value !== undefined && typeof value !== 'boolean')
    return '***';
  switch (typeof value) {
    case 'string':
      return scrub(value);
    case 'bigint':
      return value.toString();
    case 'function':
    case 'symbol':
      return undefined;
    case 'object':
      break;
    default:
      return value;
  }
  if (value === null) return null;
  if (value instanceof Error) {
    const code = (value as { code?: unknown }).code;
    return { ...(typeof code === 'string' ? { code } : {}), message: scrub(value.message) };
  }
  if (value instanceof Date) return value.toISOString();
  if (depth >= 6) return '…';
  if (Array.isArray(value)) return value.map((item) => printable(item, name, depth + 1));
  if (value instanceof Map || value instanceof Set) return printable([...value], name, depth);
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function')
    return printable((value as { toJSON(): unknown }).toJSON(), name, depth + 1);
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, printable(inner, key, depth + 1)]),
  );
}
