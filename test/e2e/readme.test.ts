/** The README, executed: its drill in order, its rehearsal, and its SQL, by the program as it is built. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GrantsDocument } from '../../orchestrator/cli/grants.ts';
import { createSourceTable } from '../../orchestrator/rehearsal/source-table.ts';
import type { StatusDocument } from '../../orchestrator/state/documents.ts';
import { PROGRAM } from '../support/program.ts';
import { type Block, blocksOf } from '../support/readme/blocks.ts';
import { README } from '../support/readme/write.ts';
import { noteRealServers, sharedServers } from '../support/servers.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { requireTool } from '../support/tool.ts';
import { until } from '../support/until.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const PATIENCE_MS = 150_000;

async function blocks(language: string, ...marks: string[]): Promise<Block[]> {
  const found = blocksOf(await readFile(README, 'utf8')).filter(
    (b) => b.language === language && b.marks.join(' ') === marks.join(' '),
  );
  expect(found.length).toBeGreaterThan(0);
  return found;
}

const scriptOf = (found: readonly Block[]): string => found.map((b) => b.text).join('\n');

/** One terminal of the person who follows the README. */
class Terminal {
  readonly process: ChildProcess;
  readonly ended: Promise<number | null>;
  output = '';

  constructor(script: string, directory: string) {
    this.process = spawn('bash', ['-ec', script], {
      cwd: directory,
      // A group of its own, as a terminal has: Ctrl-C goes to everything in it.
      detached: true,
      env: {
        PATH: process.env['PATH'],
        HOME: process.env['HOME'],
        TMPDIR: process.env['TMPDIR'],
        NO_COLOR: '1',
        // Built already, and other tests run what is there.
        npm_config_ignore_scripts: 'true',
        ORCHESTRATE_METRICS_LISTEN: '127.0.0.1:0',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.process.stdout, this.process.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    this.ended = new Promise((resolve) => this.process.once('close', resolve));
  }

  async says(text: string): Promise<void> {
    await until(
      `"${text}"`,
      () => {
        if (this.process.exitCode !== null) throw new Error(`it has ended:\n${this.output}`);
        return this.output.includes(text);
      },
      PATIENCE_MS,
    );
  }

  /** Ctrl-C; SIGKILL ends what is left after a failure. */
  interrupt(signal: NodeJS.Signals = 'SIGINT'): void {
    try {
      process.kill(-(this.process.pid ?? 0), signal);
    } catch {
      // Everything in it has ended.
    }
  }
}

describe('in a clone', () => {
  let clone = '';
  let terminals: Terminal[] = [];

  beforeEach(async () => {
    await noteRealServers();
    clone = await mkdtemp(join(tmpdir(), 'orchestrate-readme-'));
    for (const name of ['package.json', 'node_modules', 'dist', 'test'])
      await symlink(join(ROOT, name), join(clone, name));
  });

  afterEach(async () => {
    // The application first: it takes its servers away. The others have nothing to talk to then.
    for (const terminal of terminals) {
      terminal.interrupt();
      await terminal.ended;
    }
    terminals = [];
    await rm(clone, { recursive: true, force: true });
  });

  const terminal = (script: string): Terminal => {
    const opened = new Terminal(script, clone);
    terminals.push(opened);
    return opened;
  };

  it('the drill leads from blue to green, back, and to green again', {
    timeout: 2 * PATIENCE_MS,
  }, async () => {
    const application = terminal(scriptOf(await blocks('sh', 'drill', 'terminal-1')));
    await application.says('ready');
    const runner = terminal(scriptOf(await blocks('sh', 'drill', 'terminal-2')));

    const mine = await blocks('sh', 'drill', 'terminal-3');
    const looked = (n: number) => join(clone, `status-${n}.json`);
    const operator = terminal(
      mine.map((b, n) => `${b.text}\norchestrate status --json > '${looked(n)}'`).join('\n'),
    );
    expect(await operator.ended, operator.output + runner.output.slice(-2_000)).toBe(0);
    const statuses = await Promise.all(
      mine.map(async (_, n) => JSON.parse(await readFile(looked(n), 'utf8')) as StatusDocument),
    );
    const served = mine.map((block, n) => {
      const done = /orchestrate (cutover|revert|finalize)(?! --(?:dry-run|rehearse))/.exec(block.text)?.[1];
      return [done, statuses[n]?.serving, statuses[n]?.generation];
    });
    expect(served.filter(([done]) => done !== undefined)).toEqual([
      ['cutover', 'green', 1],
      ['revert', 'blue', 2],
      ['cutover', 'green', 3],
      ['finalize', 'green', statuses.at(-1)?.generation],
    ]);
    expect(statuses.at(-1)?.phase).toBe('finalized');
    expect(await runner.ended).toBe(0);
    for (const text of ['Ready.', 'GO.', 'Rehearsed.', 'Revert is safe.', 'No differences', 'second attempt'])
      expect(operator.output).toContain(text);

    application.interrupt();
    await application.ended;
    expect(application.output.match(/writes go to \w+ now/g)).toEqual([
      'writes go to green now',
      'writes go to blue now',
      'writes go to green now',
    ]);
    expect(application.output).toMatch(/ [1-9]\d* writes acknowledged, 0 of them lost; green serves\n/);
  });

  it('the smaller rehearsal passes and leaves its report', { timeout: 2 * PATIENCE_MS }, async () => {
    const rehearsal = terminal(scriptOf(await blocks('sh', 'rehearse')));
    expect(await rehearsal.ended, rehearsal.output).toBe(0);
    expect(rehearsal.output).toContain('Rehearsal PASSED');
    expect(await readFile(join(clone, 'rehearsal-report/report.md'), 'utf8')).toContain('PASSED');
  });
});

describe('the dashboard', () => {
  const curl = requireTool('curl', 'apt-get install curl');

  /** What Grafana's API for dashboards asks of a request, and answers. */
  function judge(request: IncomingMessage, body: string): string | null {
    if (request.method !== 'POST' || request.url !== '/api/dashboards/db')
      return `${request.method} ${request.url}`;
    if (request.headers.authorization !== 'Bearer of-the-test') return 'no token';
    if (!(request.headers['content-type'] ?? '').includes('application/json')) return 'no JSON';
    const { dashboard, overwrite } = JSON.parse(body) as {
      dashboard: { id?: number | null; uid?: string; title?: string; panels?: object[]; __inputs?: object };
      overwrite?: boolean;
    };
    if (overwrite !== true) return 'a second import would be refused with 412';
    if (dashboard.id != null) return 'an id of another Grafana';
    if (!/^[\w-]{1,40}$/.test(dashboard.uid ?? '')) return 'no uid of up to 40 characters';
    if ((dashboard.title ?? '') === '') return 'no title';
    if (dashboard.__inputs !== undefined) return 'inputs, which only the page for imports asks for';
    return (dashboard.panels ?? []).length > 0 ? null : 'no panels';
  }

  it.skipIf(!curl.found)('is imported by the command', async () => {
    const seen: (string | null)[] = [];
    const server = createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      request.on('end', () => {
        const wrong = judge(request, body);
        seen.push(wrong);
        response.writeHead(wrong === null ? 200 : 400, { 'content-type': 'application/json' });
        response.end(JSON.stringify(wrong === null ? { status: 'success' } : { message: wrong }));
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = server.address() as AddressInfo;
      const run = async (script: string) =>
        promisify(execFile)('bash', ['-eo', 'pipefail', '-c', script], {
          cwd: ROOT,
          env: {
            PATH: process.env['PATH'],
            GRAFANA_URL: `http://127.0.0.1:${port}`,
            GRAFANA_TOKEN: 'of-the-test',
          },
        });
      const script = scriptOf(await blocks('sh', 'dashboard'));
      expect((await run(script)).stdout).toContain('success');
      // It would be seen: without what makes the second import possible, curl ends with an error.
      await expect(run(script.replace('overwrite: true', 'overwrite: false'))).rejects.toThrow();
      expect(seen).toEqual([null, 'a second import would be refused with 412']);
    } finally {
      server.close();
    }
  });
});

describe('roles and rights', () => {
  const suffix = randomBytes(4).toString('hex');
  const names = ['app_owner', 'app_rw', 'orchestrate_sync'] as const;
  const database = `app_${suffix}`;
  /** The README's statements, with names of our own: other tests share these servers. */
  const own = (sql: string): string =>
    sql
      .replaceAll(new RegExp(`\\b(${names.join('|')})\\b`, 'g'), `$1_${suffix}`)
      .replaceAll(/\bDATABASE app\b/g, `DATABASE ${database}`);
  const statements = (sql: string): string[] =>
    own(sql.replaceAll(/--.*$/gm, ''))
      .split(';')
      .map((statement) => statement.trim())
      .filter((statement) => statement !== '');
  const at = (server: string, login?: readonly [string, string]): string => {
    const url = new URL(server);
    url.pathname = `/${database}`;
    if (login) [url.username, url.password] = [`${login[0]}_${suffix}`, login[1]];
    return url.href;
  };

  afterEach(async () => {
    const { blue, green } = await sharedServers();
    for (const { superuserUrl } of [blue, green]) {
      await execute(superuserUrl, `DROP DATABASE IF EXISTS ${database} WITH (FORCE)`);
      for (const name of names) await execute(superuserUrl, `DROP ROLE IF EXISTS ${name}_${suffix}`);
    }
  });

  it('the SQL gives exactly what preflight, the migrations and the application need', async () => {
    const { blue, green } = await sharedServers();
    const [create] = await blocks('sql', 'roles');
    const [greenDatabase] = await blocks('sql', 'green');
    const names = ['--role', `orchestrate_sync_${suffix}`, '--owner', `app_owner_${suffix}`];
    const printed = await promisify(execFile)(
      process.execPath,
      [PROGRAM, 'grants', '--json', '--database', database, '--application', `app_rw_${suffix}`, ...names],
      { env: { PATH: process.env['PATH'] } },
    );
    const { sides } = JSON.parse(printed.stdout) as GrantsDocument;
    for (const [i, { superuserUrl }] of [blue, green].entries()) {
      for (const statement of statements(create?.text ?? '')) await execute(superuserUrl, statement);
      // On blue the database is there already; here it has to be made.
      for (const statement of statements(greenDatabase?.text ?? '')) await execute(superuserUrl, statement);
      for (const statement of sides[i]?.server ?? []) await execute(superuserUrl, statement);
      for (const statement of sides[i]?.in_database ?? []) await execute(at(superuserUrl), statement);
      await execute(superuserUrl, own(`ALTER ROLE orchestrate_sync PASSWORD 'choose-a-third'`));
    }
    await withClient(at(blue.superuserUrl, ['app_owner', 'choose-one']), createSourceTable);

    const sync = ['orchestrate_sync', 'choose-a-third'] as const;
    const environment = {
      PATH: process.env['PATH'],
      ORCHESTRATE_BLUE_URL: at(blue.superuserUrl, sync),
      ORCHESTRATE_GREEN_URL: at(green.superuserUrl, sync),
    };
    const orchestrate = (...args: string[]) =>
      promisify(execFile)(process.execPath, [PROGRAM, ...args, '--json'], { env: environment });
    const preflight = JSON.parse((await orchestrate('preflight', '--backup-confirmed')).stdout) as object;
    expect(preflight).toMatchObject({ ok: true, findings: [] });

    await orchestrate('migrate', 'up');
    const application = at(green.superuserUrl, ['app_rw', 'choose-another']);
    const made = await rows(application, `INSERT INTO org (name) VALUES ('ours') RETURNING id`);
    expect(made).toHaveLength(1);
    await expect(execute(application, 'DROP TABLE settings')).rejects.toMatchObject({ code: '42501' });
  });
});
