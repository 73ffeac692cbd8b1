/**
 * The leak hunt: one small journey with secrets that have to be encoded and rows whose every value is a marker. All that the
 * program says, on whatever way, is searched for all of them in every encoding; the hunter itself is tried with leaks that
 * were planted, one for every kind of output and one for every encoding.
 */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ident } from '../../src/mapping/identifier.ts';
import { type OwnPair, ownPair } from '../support/databases.ts';
import { huntConnectionStrings } from '../support/leak/connection-strings.ts';
import { type Find, Hunter, type Watched } from '../support/leak/hunter.ts';
import { ENCODINGS } from '../support/leak/quarry.ts';
import { INSERT_MARKED, ORG_NAME, ROW_VALUES } from '../support/leak/quarry-rows.ts';
import { plantOn } from '../support/plant.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

const SIDES = ['blue', 'green'] as const;
/** Every character that some encoding changes: of URLs, forms, JSON, SQL, HTML, password files, and beyond ASCII. */
const SECRETS = {
  blue: `b1ue@p/w:?#[]%41&= +"q'\\é;$<~€`,
  green: `gr33n:\\pass%2Fword'"&>+ =@ü`,
  console: 'c0ns0le/adm:in@%20"pw',
  unused: 'sp4re-p%w@rd/of:nobody',
};
const SOUGHT = Object.entries(SECRETS).map(([name, text]) => ({ name, text }));

let scratch = '';
let pair: OwnPair;
let hunter: Hunter;

beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'leak-hunt-'));
  hunter = new Hunter(SOUGHT, ROW_VALUES);
});

afterEach(async () => {
  await hunter.end();
  await pair?.drop();
  rmSync(scratch, { recursive: true, force: true });
});

async function servers(): Promise<void> {
  pair = await ownPair();
  for (const side of SIDES)
    await execute(
      pair[side].urls.superuser,
      `ALTER ROLE ${ident(pair[side].roles.sync)} PASSWORD ${pg.escapeLiteral(SECRETS[side])}`,
    );
}

function urlOf(side: 'blue' | 'green', password = SECRETS[side]): URL {
  const url = new URL(pair[side].urls.sync);
  url.password = encodeURIComponent(password);
  return url;
}

function file(name: string, text: string): string {
  const path = join(scratch, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

/** Blue's password in the variable, green's in a password file. */
function environmentOf(): Record<string, string> {
  const green = urlOf('green', '');
  const quoted = SECRETS.green.replaceAll(/[\\:]/g, '\\$&');
  return {
    NO_COLOR: '1',
    ORCHESTRATE_MIGRATION: 'leak-hunt',
    ORCHESTRATE_METRICS_LISTEN: '127.0.0.1:0',
    ORCHESTRATE_BLUE_URL: urlOf('blue').href,
    ORCHESTRATE_GREEN_URL: green.href,
    PGPASSFILE: file('pgpass', `127.0.0.1:*:*:${green.username}:${quoted}\n`),
  };
}

/** A find as the failure of this test shows it: without the text that must be nowhere. */
const told = (finds: readonly Find[]) =>
  finds.map((f) => `${f.where}: ${f.name}, ${f.encoding}: ${f.around}`);

describe('the leak hunt', () => {
  it('finds nothing in whatever a whole journey says', async ({ onTestFailed }) => {
    onTestFailed(() => void process.stderr.write(`${told(hunter.finds).join('\n')}\n`));
    await servers();
    const environment = environmentOf();
    hunter.watchProcesses();
    for (const side of SIDES)
      await hunter.watchSessions(side, pair[side].urls.superuser, pair[side].roles.sync);
    await withClient(pair.blue.urls.app, (app) => app.query(INSERT_MARKED, [1, 120]));
    const say = (...args: string[]) => hunter.run(args, environment);
    /** In both forms, with the log of everything. */
    const sayBoth = (...args: string[]) =>
      Promise.all([say(...args, '--log-level', 'debug'), say(...args, '--json')]);

    await huntConnectionStrings(hunter, environment, SECRETS, urlOf('green'), file);
    await Promise.all([
      sayBoth('preflight'),
      sayBoth('config', 'show'),
      say('plan', '--sql', '--log-level', 'debug'),
      say('plan', '--in-place', '--batch-size', '20', '--json'),
      say('grants', '--json'),
      say('migrate', 'status', '--log-level', 'debug'),
    ]);

    // What the rehearsal writes down: reports, its log, its clients' ledger.
    const rehearsed = await hunter.start(
      [
        ...'rehearse --users 60 --rate 20 --soak 300ms --json --report'.split(' '),
        join(scratch, 'report'),
        ...SIDES.flatMap((side) => [`--${side}-app-url-file`, file(`app-${side}`, pair[side].urls.app)]),
      ],
      {
        ...environment,
        ORCHESTRATE_BLUE_URL: '',
        ORCHESTRATE_BLUE_URL_FILE: file('blue-url', urlOf('blue').href),
      },
      { cwd: scratch },
    ).ended;
    expect([rehearsed.exit, rehearsed.stderr.slice(-2000)]).toEqual([0, expect.any(String)]);
    hunter.files('report', join(scratch, 'report'));

    // The runner, with a program of the operator's that says what it was given.
    const command = file(
      'traffic',
      '#!/bin/sh\n{ env | grep -v ^PGPASSFILE; echo "$@"; } >>"$(dirname "$0")/traffic.out"\n',
    );
    chmodSync(command, 0o700);
    const armed = file('armed', '');
    let runner = hunter.start(
      [
        'run',
        '--log-level',
        'debug',
        '--log-format',
        'json',
        '--traffic',
        'command',
        '--traffic-command',
        command,
      ],
      { ...environment, ORCHESTRATE_TEST: '1', ORCHESTRATE_FAILPOINT: `@${armed}` },
    );
    await ready(runner);
    await hunter.scrape(await metricsOf(runner));
    await withClient(pair.blue.urls.app, (app) => app.query(INSERT_MARKED, [121, 140]));
    const watching = [
      hunter.start(['status', '--watch', '--json'], environment),
      hunter.start(['events', '--follow', '--json'], environment),
    ];
    await Promise.all([sayBoth('status'), sayBoth('events'), say('pause', '--log-level', 'debug')]);
    await say('resume', '--json');
    expect((await say('verify', '--json')).exit).toBe(0);
    await plantOn(
      pair,
      'green',
      `UPDATE settings SET llm_api_key = 'row7kqllmapikey-other', billing_margin = 9251.73847 WHERE id = 3`,
    );
    const [differs] = await sayBoth('verify');
    expect([differs.exit, differs.stdout]).toEqual([3, expect.stringContaining('llm_api_key')]);
    expect((await say('verify', '--repair', '--json')).exit).toBe(0);
    await say('verify', '--guide');
    await sayBoth('cutover', '--dry-run');
    const limits = ['--yes', '--accept-parked', 'all'];
    const over = await say('cutover', '--json', ...limits);
    expect([over.exit, over.stdout]).toEqual([0, expect.stringContaining('"done"')]);
    await say('status');
    await changeGreen();
    await say('revert', '--dry-run');
    const back = await say('revert', ...limits);
    expect([back.exit, back.stderr.slice(-2000)]).toEqual([0, expect.any(String)]);
    await hunter.scrape(await metricsOf(runner));

    // A value that green refuses: the server's message, detail and context hold the whole row.
    await execute(
      pair.green.urls.superuser,
      `ALTER TABLE settings ADD CONSTRAINT narrow CHECK (language NOT LIKE 'row7kqlanguage!%') NOT VALID`,
    );
    await execute(pair.blue.urls.app, `UPDATE user_settings SET language = 'row7kqlanguage!' WHERE id = 5`);
    const stopped = await runner.ended;
    expect([stopped.exit, stopped.stderr]).toEqual([1, expect.stringContaining('APPLY_CONFLICT')]);
    await Promise.all([sayBoth('status'), say('events')]);
    await execute(pair.green.urls.superuser, 'ALTER TABLE settings DROP CONSTRAINT narrow');

    // URLs as flags show in the process list only until the program has begun.
    writeFileSync(armed, 'sweep.before:error');
    runner = hunter.start(
      ['run', '--log-level', 'debug', '--blue-url', urlOf('blue').href, '--green-url', urlOf('green').href],
      { ...environment, ORCHESTRATE_BLUE_URL: '', ORCHESTRATE_TEST: '1', ORCHESTRATE_FAILPOINT: `@${armed}` },
      { as: 'run with URLs as flags', listed: false },
    );
    await until('the runner to say something', () => runner.stderr() !== '', 120_000);
    hunter.commandLine(runner.process.pid ?? 0);
    expect((await runner.ended).exit).toBe(1);
    await crashes(environment);
    await say('status');

    for (const side of SIDES) await hunter.controlSchema(side, pair[side].urls.superuser);
    for (const one of watching) one.process.kill('SIGTERM');
    await Promise.all(watching.map((one) => one.ended));
    runner = hunter.start(['run', '--log-level', 'debug'], environment);
    expect((await say('finalize', '--yes', '--keep-control', '--json')).exit).toBe(0);
    await runner.ended;
    await say('status');
    hunter.look('traffic command', '', readFileSync(join(scratch, 'traffic.out'), 'utf8'));

    expect(told(hunter.finds)).toEqual([]);
    // Each kind of output was there to be looked at.
    for (const [kind, least] of Object.entries({
      stdout: 20_000,
      stderr: 20_000,
      metrics: 5_000,
      report: 20_000,
      'control schema': 10_000,
      pg_stat_activity: 20_000,
      'command line': 500,
    }))
      expect([kind, (hunter.seen[kind] ?? 0) >= least]).toEqual([kind, true]);
  });

  it('finds what was planted, in every kind of output and every encoding', async () => {
    await servers();
    const { superuser } = pair.green.urls;
    const leak = SECRETS.blue;
    const kinds = () => new Set(hunter.finds.map((f) => f.where.split(':')[0]));

    const speaker = file(
      'speaker.mjs',
      `const leak = process.env.LEAK;
       process.stdout.write(JSON.stringify({ told: leak }));
       process.stderr.write('level=debug url=postgres://u:' + encodeURIComponent(leak) + '@h/d\\n');`,
    );
    await hunter.start([], { LEAK: leak }, { program: speaker, as: 'planted' }).ended;
    const crasher = file('crasher.mjs', `setTimeout(() => { throw new Error(process.env.LEAK); }, 1);`);
    const crashed = await hunter.start([], { LEAK: SECRETS.console }, { program: crasher, as: 'crash' })
      .ended;
    expect(crashed.exit).toBe(1);
    expect(told(hunter.finds.filter((f) => f.where === 'stderr: crash'))).not.toEqual([]);

    const lingers = file('lingers.mjs', 'setTimeout(() => {}, 60_000);');
    hunter.watchProcesses();
    hunter.start(
      [`--url=postgres://u:${encodeURIComponent(leak)}@h/d`],
      {},
      { program: lingers, as: 'lingers' },
    );
    await until('the command line to be seen', () => kinds().has('command line'));

    const scrape = createServer((_, response) => response.end(`x{url="${encodeURIComponent(leak)}"} 1\n`));
    await new Promise<void>((resolve) => scrape.listen(0, '127.0.0.1', resolve));
    await hunter.scrape(`http://127.0.0.1:${(scrape.address() as AddressInfo).port}`);
    scrape.close();

    const reports = mkdtempSync(join(scratch, 'planted-'));
    writeFileSync(join(reports, 'report.html'), '<td>row7kqllmapikey</td>');
    hunter.files('report', reports);

    await execute(superuser, `CREATE SCHEMA orchestrator; CREATE TABLE orchestrator.planted (detail jsonb)`);
    await rows(superuser, 'INSERT INTO orchestrator.planted VALUES ($1)', [JSON.stringify({ error: leak })]);
    await hunter.controlSchema('green', superuser);

    await hunter.watchSessions('green', superuser, pair.green.roles.sync);
    await withClient(urlOf('green').href, async (client) => {
      await client.query(`SELECT 1 /* row7kqemail7 */`);
      await until('the statement to be seen', () => kinds().has('pg_stat_activity'));
    });
    expect(kinds()).toEqual(
      new Set([
        'command line',
        'control schema',
        'metrics',
        'pg_stat_activity',
        'report',
        'stderr',
        'stdout',
      ]),
    );

    for (const [encoding, encode] of Object.entries(ENCODINGS))
      for (const { name, text } of [...SOUGHT, ...ROW_VALUES])
        for (const [i, form] of encode(text).entries()) {
          const trial = new Hunter([{ name, text }], []);
          trial.look('planted', '', `{"a":"${form}"}`);
          expect([encoding, i, name, trial.finds.length > 0]).toEqual([encoding, i, name, true]);
        }
    // In the middle of something else that was encoded as a whole.
    for (const before of ['', 'u', 'us']) {
      const trial = new Hunter([{ name: 'blue', text: leak }], []);
      trial.look('planted', '', Buffer.from(`${before}${leak}@h/d`).toString('base64'));
      expect([before, trial.finds.map((f) => f.encoding)]).toEqual([before, ['base64']]);
    }
    const clean = new Hunter(SOUGHT, ROW_VALUES);
    clean.look(
      'planted',
      '',
      'CANNOT_CONNECT  blue at h:1/d cannot be reached; row 7, language, b1ue, gr33n',
    );
    expect(clean.finds).toEqual([]);
  });
});

/** Ends of a process that no code of the program foresees. */
async function crashes(environment: Readonly<Record<string, string>>): Promise<void> {
  const thrower = file(
    'thrower.mjs',
    `const begun = setInterval(() => {
       // What is thrown before the program has begun is not the program's.
       if (process.listenerCount('uncaughtException') === 0) return;
       clearInterval(begun);
       const cause = Object.assign(new Error(process.env.ORCHESTRATE_BLUE_URL), { detail: 'row7kqemail' });
       const error = new Error('Failing: ' + decodeURIComponent(process.env.ORCHESTRATE_BLUE_URL), { cause });
       if (process.env.REJECT) Promise.reject(error); else throw error;
     }, 20);`,
  );
  for (const more of [{}, { REJECT: '1' }]) {
    const thrown = await hunter.start(
      ['status', '--watch'],
      { ...environment, ...more },
      { node: ['--import', thrower], as: 'crash' },
    ).ended;
    expect([thrown.exit, thrown.stderr]).toEqual([1, expect.stringContaining('INTERNAL')]);
  }
  for (const signal of ['SIGABRT', 'SIGQUIT'] as const) {
    const runner = hunter.start(['run', '--log-level', 'debug'], environment, { as: signal });
    await until('the runner to be at work', () => runner.stderr().includes('metrics are served'), 120_000);
    runner.process.kill(signal);
    await runner.ended;
  }
}

/** What an operator does on green, so that a revert has something to tell that the old schema cannot express. */
async function changeGreen(): Promise<void> {
  await withClient(pair.green.urls.app, async (app) => {
    await app.query('UPDATE org SET name = $1, contact_email = $2 WHERE id = 4', [ORG_NAME, 'row7kqemail']);
    await app.query(`UPDATE settings SET llm_model = 'row7kqllmmodel-new' WHERE id = 6`);
    await app.query(`INSERT INTO org_user (org_id, user_id, role_id, status) VALUES (4, 6, 2, 'active')`);
    await app.query(
      `DELETE FROM org_user WHERE user_id = 9; DELETE FROM settings WHERE org_id = 9; DELETE FROM "user" WHERE id = 9`,
    );
  });
}

/** A clean sweep and the way back, read without starting the program again and again. */
async function ready(runner: Watched): Promise<void> {
  await until(
    'the first clean sweep and the way back',
    async () => {
      if (runner.process.exitCode !== null) throw new Error(`run ended: ${runner.stderr().slice(-2000)}`);
      const { superuser } = pair.green.urls;
      const [found] = await rows<{ n: number }>(
        superuser,
        `SELECT (SELECT count(*) FROM orchestrator.sweep WHERE clean)::integer
              * (SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'orchestrate%')::integer AS n`,
      );
      return (found?.n ?? 0) > 0;
    },
    120_000,
  );
}

async function metricsOf(runner: Watched): Promise<string> {
  const port = await until(
    'the metrics to be served',
    () => /"port":(\d+).*metrics are served/.exec(runner.stderr())?.[1],
  );
  return `http://127.0.0.1:${port}`;
}
