import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { FailureDocument } from '../../orchestrator/state/documents.ts';
import { catalogOf } from '../support/catalog.ts';
import { freshPair, ownPair, type Pair } from '../support/databases.ts';
import { journey } from '../support/journey.ts';
import { execute, withClient } from '../support/sql.ts';

/** `run` that must not begin: what stands in its way, on which side, and with which exit code it says so. */
interface Refusal {
  readonly what: string;
  readonly exit: number;
  readonly code: string;
  readonly prepare?: (pair: Pair) => Promise<void>;
  readonly urls?: (pair: Pair) => { blue: string; green: string };
  readonly during?: (pair: Pair, run: () => Promise<void>) => Promise<void>;
}

const REFUSALS: readonly Refusal[] = [
  {
    what: 'the two URLs swapped',
    exit: 3,
    code: 'PREFLIGHT_FAILED',
    urls: (pair) => ({ blue: pair.green.urls.sync, green: pair.blue.urls.sync }),
  },
  {
    what: 'the same database twice',
    exit: 3,
    code: 'PREFLIGHT_FAILED',
    urls: (pair) => ({ blue: pair.blue.urls.sync, green: pair.blue.urls.sync }),
  },
  {
    what: 'a source without primary key',
    exit: 3,
    code: 'PREFLIGHT_FAILED',
    prepare: (pair) =>
      execute(pair.blue.urls.owner, 'ALTER TABLE user_settings DROP CONSTRAINT user_settings_pkey'),
  },
  {
    what: 'an unknown extra column',
    exit: 3,
    code: 'PREFLIGHT_FAILED',
    prepare: (pair) =>
      execute(pair.blue.urls.owner, 'ALTER TABLE user_settings ADD COLUMN v1_enabled boolean'),
  },
  {
    what: 'green tables that hold rows of somebody else',
    exit: 3,
    code: 'PREFLIGHT_FAILED',
    prepare: (pair) =>
      execute(
        pair.green.urls.owner,
        'CREATE TABLE org (id integer PRIMARY KEY, name varchar NOT NULL); INSERT INTO org VALUES (1, $$theirs$$)',
      ),
  },
  {
    what: 'a wrong password',
    exit: 4,
    code: 'AUTHENTICATION',
    urls: (pair) => {
      const green = new URL(pair.green.urls.sync);
      green.password = 'not-the-password';
      return { blue: pair.blue.urls.sync, green: green.href };
    },
  },
  {
    what: "a foreign session on the sync role's login",
    exit: 3,
    code: 'PREFLIGHT_FAILED',
    during: (pair, run) => withClient(pair.blue.urls.sync, run),
  },
];

describe('what run refuses, changing nothing', () => {
  let pair: Pair | undefined;

  afterEach(async () => {
    await pair?.drop();
    pair = undefined;
  });

  const catalogs = async (p: Pair) => [
    await catalogOf(p.blue.urls.superuser),
    await catalogOf(p.green.urls.superuser),
  ];

  const refuses = async (p: Pair, refusal: Omit<Refusal, 'what' | 'prepare'>) => {
    const before = await catalogs(p);
    const refused = async () => {
      const ended = await journey(p, refusal.urls?.(p)).command('run', '--json');
      expect(ended.exit, ended.stderr).toBe(refusal.exit);
      const { error } = ended.json<FailureDocument>();
      expect(error.code).toBe(refusal.code);
      for (const said of [error.expected, error.found, error.fix]) expect(said).toBeTruthy();
      expect(ended.stdout + ended.stderr).not.toContain(new URL(p.blue.urls.sync).password);
    };
    await (refusal.during ? refusal.during(p, refused) : refused());
    expect(await catalogs(p)).toEqual(before);
  };

  it.each(REFUSALS)('$what: exit $exit', async ({ prepare, ...refusal }) => {
    pair = await freshPair();
    await prepare?.(pair);
    await refuses(pair, refusal);
  });

  it('wal_level that is not logical: exit 3', async () => {
    pair = await ownPair({ blue: { wal_level: 'replica' } });
    await refuses(pair, { exit: 3, code: 'PREFLIGHT_FAILED' });
  });

  it('a server in recovery as blue: exit 3', async () => {
    const own = await ownPair();
    pair = own;
    await own.servers.blue.stop('fast');
    await writeFile(join(own.servers.blue.dataDir, 'standby.signal'), '');
    await own.servers.blue.start();
    await refuses(pair, { exit: 3, code: 'PREFLIGHT_FAILED' });
  });
});
