/** `rehearse` on two given databases: they are what they were before, whatever happened in between. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadSettings } from '../../orchestrator/config/load.ts';
import { silent } from '../../orchestrator/log/log.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { rehearse } from '../../orchestrator/rehearsal/rehearse.ts';
import type { RehearsalReport } from '../../orchestrator/rehearsal/report.ts';
import { type Catalog, catalogOf } from '../support/catalog.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { journey } from '../support/journey.ts';
import { PROGRAM } from '../support/program.ts';
import { blocksOf } from '../support/readme/blocks.ts';
import { README } from '../support/readme/write.ts';
import { schemaProblems } from '../support/schemas/validate.ts';
import { execute, rows } from '../support/sql.ts';
import { until } from '../support/until.ts';

const SIDES = ['blue', 'green'] as const;
const SCALE = ['--users', '200', '--rate', '50', '--soak', '500ms'];

interface Whole {
  readonly catalog: Catalog;
  readonly rows: readonly object[];
  readonly identities: readonly object[];
  readonly roles: readonly object[];
}

describe('rehearse on given databases', () => {
  let pair: Pair;
  let scratch = '';
  const children: ChildProcess[] = [];

  beforeEach(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'staging-'));
    pair = await freshPair();
    await loadUsers(pair.blue.urls.owner, { users: 300, seed: 'staging' });
    // What the application has beside its table, and a database of somebody else on green.
    await execute(
      pair.blue.urls.owner,
      `CREATE TABLE audit (at timestamptz DEFAULT '2026-01-01', what text);
       INSERT INTO audit (what) VALUES ('kept');
       CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
       CREATE TRIGGER noted AFTER DELETE ON user_settings FOR EACH STATEMENT EXECUTE FUNCTION noted();
       CREATE PUBLICATION of_somebody_else FOR TABLE audit`,
    );
    await execute(
      pair.green.urls.superuser,
      `CREATE TABLE invoice (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, total numeric);
       INSERT INTO invoice (total) VALUES (1), (2)`,
    );
    for (const side of SIDES) await writeFile(join(scratch, side), pair[side].urls.app, { mode: 0o600 });
  });

  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    await pair.drop();
    await rm(scratch, { recursive: true, force: true });
  });

  async function whole(): Promise<readonly Whole[]> {
    return Promise.all(
      SIDES.map(async (side) => {
        const url = pair[side].urls.superuser;
        const tables = side === 'blue' ? ['user_settings', 'audit'] : ['invoice'];
        const all = await Promise.all(
          tables.map((name) => rows<object>(url, `SELECT t::text FROM ${name} AS t ORDER BY 1`)),
        );
        expect(all.every((found) => found.length > 0)).toBe(true);
        return {
          catalog: await catalogOf(url),
          rows: all.flat(),
          identities: await rows(url, 'SELECT sequencename, last_value FROM pg_sequences ORDER BY 1'),
          roles: await rows(url, `SELECT rolname FROM pg_roles WHERE rolname LIKE '%rehearsal%'`),
        };
      }),
    );
  }

  /** Knocks at both sides all the time; it changes nothing, and the side that does not serve refuses it all the same. */
  function strayWriter(): { stop: () => Promise<void> } {
    const ending = new AbortController();
    const work = async (): Promise<void> => {
      while (!ending.signal.aborted) {
        await execute(pair.blue.urls.app, 'UPDATE user_settings SET language = NULL WHERE false').catch(
          () => {},
        );
        await execute(pair.green.urls.app, 'UPDATE settings SET language = NULL WHERE false').catch(() => {});
        await delay(200);
      }
    };
    const done = work();
    return {
      stop: async () => {
        ending.abort();
        await done;
      },
    };
  }

  const migration = () => `on-${pair.green.database.replaceAll('_', '-')}`;
  const appFiles = () => SIDES.flatMap((side) => [`--${side}-app-url-file`, join(scratch, side)]);

  const start = (args: readonly string[], environment: Record<string, string> = {}) =>
    startCommand([process.execPath, PROGRAM, 'rehearse', ...args, '--json', '--report', scratch], {
      ORCHESTRATE_BLUE_URL: pair.blue.urls.sync,
      ORCHESTRATE_GREEN_URL: pair.green.urls.sync,
      ...environment,
    });

  function startCommand([program = '', ...args]: readonly string[], environment: Record<string, string>) {
    const child = spawn(program, args, {
      cwd: scratch,
      env: {
        PATH: process.env['PATH'],
        HOME: process.env['HOME'],
        ORCHESTRATE_MIGRATION: migration(),
        ...environment,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    children.push(child);
    let [stdout, notes] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      notes += text;
    });
    const ended = new Promise<{ exit: number | null; document: RehearsalReport }>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (exit) => {
        try {
          resolve({ exit, document: JSON.parse(stdout) as RehearsalReport });
        } catch {
          reject(new Error(`no document: ${stdout}${notes}`));
        }
      });
    });
    return { child, ended, notes: () => notes };
  }

  it('three rounds, as the README has them, leave catalogs and rows of both sides identical', async () => {
    const before = await whole();
    for (const side of SIDES) {
      await writeFile(join(scratch, `${side}-url`), pair[side].urls.sync, { mode: 0o600 });
      await writeFile(join(scratch, `${side}-app`), pair[side].urls.app, { mode: 0o600 });
    }
    const block = blocksOf(await readFile(README, 'utf8')).find((b) => b.marks.includes('staging'));
    expect(block?.text).toContain('--iterations 3');
    const rehearsal = startCommand(
      ['bash', '-ec', `orchestrate() { '${process.execPath}' '${PROGRAM}' "$@" --json; }\n${block?.text}`],
      {},
    );
    const { exit, document } = await rehearsal.ended;
    expect(document.failures, rehearsal.notes()).toEqual([]);
    expect([exit, document.verdict]).toEqual([0, 'passed']);
    expect(schemaProblems('rehearse', document)).toEqual([]);
    expect(document.restored).toEqual({ identical: true, left: [], unread: ['green public.invoice'] });
    expect(document.iterations.map((i) => [i.iteration, i.verdict, i.restored, i.lost])).toEqual([
      [1, 'passed', true, 0],
      [2, 'passed', true, 0],
      [3, 'passed', true, 0],
    ]);
    // It was a whole journey: the rows of others went along, and both sides were written to.
    expect(document.handovers.map((h) => h.serving)).toEqual(['green', 'blue', 'green', 'blue']);
    expect(document.checks[0]?.compared?.blue_rows).toBeGreaterThanOrEqual(500);
    expect(document.workload?.refused_by_code).toHaveProperty('25006');
    expect(document.workload?.sign_ups).toBeGreaterThan(0);
    expect(document.alerts.find((a) => a.alert === 'FreezeOverBudget')).toMatchObject({ held_seconds: null });
    expect(await whole()).toEqual(before);
  });

  it.each([
    ['kill-runner', /^the runner ended with 137, another took over$/],
    // A runner that has lost the connections of its lease ends with 7 (I10).
    ['cut-connections', /^([1-9]|[1-9]\d) sessions cut: the runner ended with 7, another took over$/],
  ])('%s before each handover; a login of its own; a job that somebody forgot', async (fault, told) => {
    const before = await whole();
    const forgotten = strayWriter();
    const rehearsal = start([...SCALE, '--faults', fault], {
      ORCHESTRATE_BLUE_URL: pair.blue.urls.superuser,
      ORCHESTRATE_GREEN_URL: pair.green.urls.superuser,
    });
    const { exit, document } = await rehearsal.ended;
    await forgotten.stop();
    expect(document.failures, rehearsal.notes()).toEqual([]);
    expect(exit, rehearsal.notes()).toBe(0);
    const fired = document.alerts.filter((a) => a.fired).map((a) => a.alert);
    expect(fired).toContain('StandbyWrites');
    expect(fired).not.toContain('FreezeOverBudget');
    const notes = document.stages.filter((s) => s.stage === fault).map((s) => s.note);
    expect(notes).toEqual(Array.from({ length: 4 }, () => expect.stringMatching(told)));
    expect(await whole()).toEqual(before);
  });

  it('Ctrl-C while green serves: blue serves again, and both are as they were', async () => {
    const before = await whole();
    const rehearsal = start([...SCALE, ...appFiles()]);
    await until('green to serve', () => rehearsal.notes().includes('✓ cutover 1'), 120_000);
    rehearsal.child.kill('SIGINT');
    const { exit, document } = await rehearsal.ended;
    expect(exit, rehearsal.notes()).toBe(130);
    expect(document.restored, rehearsal.notes()).toMatchObject({ identical: true, left: [] });
    expect(await whole()).toEqual(before);
  });

  it('says so when something stays behind', async () => {
    const { exit, report } = await rehearse(
      loadSettings({
        flags: {},
        environment: {
          ORCHESTRATE_MIGRATION: migration(),
          ORCHESTRATE_BLUE_URL: pair.blue.urls.sync,
          ORCHESTRATE_GREEN_URL: pair.green.urls.sync,
        },
      }),
      {
        embedded: false,
        users: 200,
        rate: 50,
        soakMs: 500,
        seed: 'red',
        iterations: 2,
        reportDirectory: scratch,
        signal: new AbortController().signal,
        note: () => undefined,
        program: PROGRAM,
        appUrlFiles: { blue: join(scratch, 'blue'), green: join(scratch, 'green') },
        beforeCheck: async ({ after }) => {
          if (after !== 'revert 2') return;
          await execute(pair.blue.urls.superuser, "INSERT INTO audit (what) VALUES ('new')");
          await execute(pair.green.urls.superuser, 'CREATE TABLE forgotten ()');
        },
      },
      silent,
    );
    expect([exit, report.verdict, report.iterations.length]).toEqual([3, 'failed', 1]);
    expect(report.restored?.identical).toBe(false);
    const left = report.restored?.left.join('\n') ?? '';
    for (const text of ['blue, lost: table public.audit: 1 rows', 'green, new: relation public.forgotten'])
      expect(left).toContain(text);
    expect(left).not.toContain('user_settings');
  });

  it('a revert at the end that fails leaves the way back: the same commands open blue again', async () => {
    const stubborn = join(scratch, 'stubborn.mjs');
    const noMore = new AbortController();
    await writeFile(
      stubborn,
      `if (process.argv[2] === 'revert') { console.log('{}'); process.exit(5); }
       process.argv[1] = ${JSON.stringify(PROGRAM)};
       await import(process.argv[1]);`,
    );
    const urls = { ORCHESTRATE_BLUE_URL: pair.blue.urls.sync, ORCHESTRATE_GREEN_URL: pair.green.urls.sync };
    const { report } = await rehearse(
      loadSettings({ flags: {}, environment: { ORCHESTRATE_MIGRATION: migration(), ...urls } }),
      {
        embedded: false,
        users: 200,
        rate: 50,
        soakMs: 500,
        seed: 'stubborn',
        reportDirectory: scratch,
        signal: noMore.signal,
        note: () => undefined,
        program: stubborn,
        appUrlFiles: { blue: join(scratch, 'blue'), green: join(scratch, 'green') },
        beforeCheck: async ({ after }) => {
          if (after === 'cutover 1') noMore.abort();
        },
      },
      silent,
    );
    expect(report.restored?.identical).toBe(false);
    expect(report.failures.map((f) => f.expected)).toContain('revert done');
    const by = journey(pair);
    expect(await by.status()).toMatchObject({ serving: 'green', generation: 1 });
    const back = await by.command('revert', '--yes', '--json');
    expect([back.exit, back.json()], back.stderr).toMatchObject([0, { outcome: 'done' }]);
    await execute(pair.blue.urls.app, `UPDATE user_settings SET llm_model = 'open again' WHERE id = 1`);
    expect((await by.command('finalize', '--yes', '--release-green')).exit).toBe(0);
  });

  it('refuses either label of production, and databases that are in use', async () => {
    const before = await whole();
    const refused = async (args: readonly string[], found: RegExp): Promise<void> => {
      const { exit, document } = await start([...SCALE, ...appFiles(), ...args]).ended;
      expect([exit, document.error?.code]).toEqual([3, 'REHEARSAL_REFUSED']);
      expect(document.error?.found).toMatch(found);
    };
    await refused(['--environment', 'production'], /configuration/);
    for (const side of SIDES) {
      const { superuser } = pair[side].urls;
      const database = `DATABASE "${pair[side].database}"`;
      await execute(superuser, `ALTER ${database} SET orchestrate.environment = 'production'`);
      await refused([], new RegExp(`^${side} .* says production`));
      await execute(superuser, `ALTER ${database} RESET orchestrate.environment`);
    }
    await execute(pair.green.urls.owner, 'CREATE TABLE org (id integer)');
    await refused([], /green: tables org/);
    await execute(pair.green.urls.owner, 'DROP TABLE org');

    await writeFile(join(scratch, 'green'), pair.green.urls.sync);
    const sync = await start([...SCALE, ...appFiles()]).ended;
    expect([sync.exit, sync.document.error?.code]).toEqual([2, 'CONFIG_INVALID']);
    const none = await start(SCALE).ended;
    expect([none.exit, none.document.error?.code]).toEqual([2, 'CONFIG_INVALID']);
    expect(none.document.error?.fix).toContain('--blue-app-url-file');
    expect(await whole()).toEqual(before);
  });
});
