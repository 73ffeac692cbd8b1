import { describe, expect, it } from 'vitest';
import { asFailure } from '../../orchestrator/errors/as-failure.ts';
import { CATALOGUE, type CatalogueEntry } from '../../orchestrator/errors/catalogue.ts';
import { connectionFailure } from '../../orchestrator/errors/connection.ts';
import { failure, OrchestrateError } from '../../orchestrator/errors/failure.ts';
import { isTransient } from '../../orchestrator/errors/sqlstate.ts';
import { createLogger } from '../../orchestrator/log/logger.ts';
import { printable, rememberSecret, rememberUrl, scrub } from '../../orchestrator/log/redact.ts';

const withCode = (message: string, code: string) => Object.assign(new Error(message), { code });

describe('the catalogue', () => {
  it.each(Object.entries<CatalogueEntry>(CATALOGUE))(
    '%s has a meaning, a mend and an exit code',
    (code, entry) => {
      expect(code).toMatch(/^[A-Z]+(_[A-Z]+)*$/);
      expect(entry.meaning.length).toBeGreaterThan(10);
      expect(entry.fix.length).toBeGreaterThan(5);
      expect([1, 2, 3, 4, 5, 6, 7, 8, 130, 143]).toContain(entry.exit);
      const document = failure(code as keyof typeof CATALOGUE).toDocument('blue');
      expect(document).toMatchObject({ code, serving: 'blue', fix: entry.fix, message: entry.meaning });
      expect(document.runbook).toMatch(/^README\.md#[a-z-]+$/);
    },
  );
});

describe('errors of others', () => {
  it('a refused login and a dead server both end with 4, without the text of the driver', () => {
    const refused = connectionFailure(
      'blue',
      'h:1/d',
      withCode('password authentication failed for user "u"', '28P01'),
    );
    expect([refused.code, refused.entry.exit, refused.detail.found]).toEqual(['AUTHENTICATION', 4, '28P01']);
    expect(connectionFailure('blue', 'h:1/d', withCode('x', 'ECONNREFUSED')).code).toBe('CANNOT_CONNECT');
  });

  it("a server's message, which can quote a row, is reduced to its SQLSTATE", () => {
    const error = asFailure(withCode('invalid input syntax for type json: "sk-live-123"', '22P02'));
    expect(error.code).toBe('INTERNAL');
    expect(JSON.stringify(error.toDocument())).not.toContain('sk-live');
    expect(error.detail.found).toBe('error 22P02');
  });

  it('passing trouble is told apart from the rest', () => {
    expect(asFailure(withCode('x', '57P01')).code).toBe('TRANSIENT');
    expect(isTransient(withCode('x', '08006'))).toBe(true);
    expect(isTransient(withCode('x', '23505'))).toBe(false);
    expect(isTransient(failure('LOCK_TIMEOUT'))).toBe(true);
    expect(isTransient(failure('SLOT_LOST'))).toBe(false);
    expect(asFailure(failure('SLOT_LOST'))).toBeInstanceOf(OrchestrateError);
    expect(asFailure(withCode('permission denied for table t', '42501')).code).toBe('RIGHT_MISSING');
    expect(asFailure('thrown text').code).toBe('INTERNAL');
  });
});

describe('redaction', () => {
  it.each([
    ['postgres://u:pa55word@h/d', 'postgres://***@h/d'],
    ['postgres://u:p@ss@w0rd@h/d failed', 'postgres://***@h/d failed'],
    ['host=h password=pa55word user=u', 'host=h password=*** user=u'],
    ["password='pa55 word' x", 'password=*** x'],
    ['PASSWORD: pa55word', 'PASSWORD: ***'],
    ['https://user:pa55word@h/', 'https://***@h/'],
    ['postgres://user@host:port/database', 'postgres://user@host:port/database'],
    ['nothing to hide', 'nothing to hide'],
  ])('%s', (text, clean) => expect(scrub(text)).toBe(clean));

  it('knows the secrets it was told, plain, encoded and quoted', () => {
    rememberUrl('postgres://app:s%40cr%22et%20one@h:1/d');
    for (const text of ['s@cr"et one', 's%40cr%22et%20one', JSON.stringify('s@cr"et one')])
      expect(scrub(`before ${text} after`)).not.toMatch(/cr.*et/);
    rememberUrl('postgres://orchestrate:orchestrate@h:1/d');
    rememberSecret('abc');
    expect(scrub('orchestrate abc')).toBe('orchestrate abc');
  });

  it('of fields, by name and by text', () => {
    expect(
      printable({
        password: 'x',
        blueUrl: 'postgres://h/d',
        apiKey: 'k',
        note: 'postgres://u:pppppp@h/d',
        keys: 3,
        lsn: 2n ** 63n,
        nested: [{ token: 't', error: withCode('password=abcdef', '28P01') }],
        set: new Set([1]),
        at: new Date(0),
      }),
    ).toEqual({
      password: '***',
      blueUrl: '***',
      apiKey: '***',
      note: 'postgres://***@h/d',
      keys: 3,
      lsn: '9223372036854775808',
      nested: [{ token: '***', error: { code: '28P01', message: 'password=***' } }],
      set: [1],
      at: '1970-01-01T00:00:00.000Z',
    });
  });
});

describe('the log', () => {
  const lines = (format: 'text' | 'json', level: 'debug' | 'info' = 'info') => {
    const written: string[] = [];
    const log = createLogger({ format, level, migration: 'm', write: (line) => written.push(line) });
    log.debug({}, 'unheard');
    log.warn(
      { lsn: 5n, where: 'a b', url: 'postgres://u:pppppp@h/d' },
      'one\nline \u001b[2J password=pppppp',
    );
    return written;
  };

  it('is one plain line for people', () => {
    const written = lines('text');
    expect(written).toHaveLength(1);
    expect(written[0]).toMatch(
      /^\d{4}-\d\d-\d\dT[\d:.]+Z WARN {2}one line {2}\[2J password=\*\*\* lsn=5 where="a b" url=\*\*\*\n$/,
    );
  });

  it('is one object a line for machines', () => {
    const written = lines('json');
    expect(written).toHaveLength(1);
    expect(JSON.parse(written[0] ?? '')).toMatchObject({
      level: 'warn',
      migration: 'm',
      lsn: '5',
      where: 'a b',
      url: '***',
      message: 'one\nline \u001b[2J password=***',
    });
  });
});
