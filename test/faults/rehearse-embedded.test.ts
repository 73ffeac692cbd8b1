import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadSettings } from '../../orchestrator/config/load.ts';
import { silent } from '../../orchestrator/log/log.ts';
import { rehearse } from '../../orchestrator/rehearsal/rehearse.ts';
import type { RehearsalReport } from '../../orchestrator/rehearsal/report.ts';
import { freshPair } from '../support/databases.ts';
import { PROGRAM } from '../support/program.ts';
import { schemaProblems } from '../support/schemas/validate.ts';
import { noteRealServers } from '../support/servers.ts';
import { execute, rows } from '../support/sql.ts';
import { until } from '../support/until.ts';

const TIMEOUT_MS = 300_000;

const ps = (columns: string) => promisify(execFile)('ps', ['-eww', '-o', columns], { maxBuffer: 2 ** 24 });

interface Drill {
  readonly pid: number;
  readonly notes: () => string;
  readonly ended: Promise<{ exit: number | null; stdout: string }>;
}

describe('orchestrate rehearse', () => {
  /** Everything a rehearsal makes lies below this directory, and its processes name it in their arguments. */
  let scratch = '';
  let report = '';
  const drills: ChildProcess[] = [];

  beforeEach(async () => {
    await noteRealServers();
    // Root lends the servers to another account, which has to get in.
    scratch = await mkdtemp(join(tmpdir(), 'rehearse-test-'));
    await chmod(scratch, 0o755);
    report = await mkdtemp(join(tmpdir(), 'rehearse-report-'));
  });

  afterEach(async () => {
    // A test that failed half-way leaves no drill behind; its watchdogs take the rest away.
    for (const drill of drills.splice(0)) drill.kill('SIGKILL');
    await rm(scratch, { recursive: true, force: true });
    await rm(report, { recursive: true, force: true });
  });

  function start(args: readonly string[], environment: Record<string, string> = {}): Drill {
    const child = spawn(process.execPath, [PROGRAM, 'rehearse', ...args], {
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'], TMPDIR: scratch, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, notes] = ['', ''];
    drills.push(child);
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      notes += text;
    });
    return {
      pid: child.pid as number,
      notes: () => notes,
      ended: new Promise((resolve) => child.once('close', (exit) => resolve({ exit, stdout }))),
    };
  }

  /** Files and servers that are still there. */
  async function left(): Promise<string[]> {
    const { stdout } = await ps('args');
    return [...(await readdir(scratch)), ...stdout.split('\n').filter((line) => line.includes(scratch))];
  }

  /** A drill whose servers, application and runner are at work, and the runner's pid. */
  async function startedDrill(): Promise<{ drill: Drill; runner: number }> {
    const drill = start(['--embedded', '--users', '2000', '--json', '--report', report]);
    await until('the rows to be there', () => drill.notes().includes('✓ rows'), 120_000);
    const runner = await until('orchestrate run to be there', async () => {
      const { stdout } = await ps('pid,ppid,args');
      const children = stdout.split('\n').map((line) => line.trim().split(/\s+/));
      return children.find(([, parent, name]) => parent === String(drill.pid) && name === 'orchestrate')?.[0];
    });
    expect((await left()).length).toBeGreaterThan(3);
    return { drill, runner: Number(runner) };
  }

  const lives = (pid: number): boolean => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };

  it(
    'goes from copy to finalize through two cutovers and a revert, loses nothing, and leaves nothing',
    async () => {
      const drill = start([
        '--embedded',
        '--users',
        '2000',
        '--rate',
        '200',
        '--soak',
        '2s',
        '--json',
        '--report',
        report,
      ]);
      const { exit, stdout } = await drill.ended;
      const document = JSON.parse(stdout) as RehearsalReport;
      expect(document.failures, drill.notes()).toEqual([]);
      expect(document).toMatchObject({ verdict: 'passed', exit: 0 });
      expect(exit).toBe(0);
      expect(document).not.toHaveProperty('error');

      expect(document.servers.blue).toMatch(/^15\./);
      expect(document.servers.green).toMatch(/^18\./);
      expect(document.rows?.users).toBe(2_000);
      expect(document.copy?.phases.map((p) => p.phase)).toEqual([
        'created',
        'prepared',
        'copying',
        'building',
      ]);
      expect(document.handovers.map((h) => [h.name, h.outcome, h.serving])).toEqual([
        ['cutover 1', 'done', 'green'],
        ['revert 1', 'done', 'blue'],
        ['cutover 2', 'done', 'green'],
      ]);
      for (const handover of document.handovers) {
        expect(handover.felt?.longest_gap_ms).toBeGreaterThan(0);
        expect(handover.felt?.longest_gap_ms).toBeLessThan(handover.budget_seconds * 1_000);
        // With nobody waiting the gap would say nothing.
        expect(handover.felt?.waiting).toBeGreaterThan(0);
        expect(handover.felt?.waiting_ms?.max).toBeGreaterThan(0);
        for (const rate of Object.values(handover.offered_per_second))
          expect(rate).toBeGreaterThanOrEqual(200);
        expect(handover.gates.every((gate) => gate.passed)).toBe(true);
        expect(handover.steps.at(-1)).toMatchObject({ step: 'reverse', ok: true });
      }
      expect(document.checks.map((c) => c.after)).toEqual(['cutover 1', 'revert 1', 'cutover 2', 'finalize']);
      for (const check of document.checks) {
        expect(check.acknowledged).toBeGreaterThan(100);
        expect(check.facts_looked_up).toBeGreaterThan(100);
        expect(check.lost).toBe(0);
        if (check.compared === null) continue;
        expect(check.compared.blue_rows).toBeGreaterThan(2_000);
        expect(check.compared.mapped + check.compared.parked).toBe(check.compared.blue_rows);
        expect(check.compared.differences).toBe(0);
      }
      expect(schemaProblems('rehearse', document)).toEqual([]);
      expect(document.workload?.acknowledged).toBeGreaterThan(1_000);
      expect(document.workload?.refused_by_code).toHaveProperty('25006');
      expect(document.serving_changes?.proved).toBe(3);
      expect(document.finalize).toMatchObject({
        outcome: 'done',
        run_exit: 0,
        residue: [],
        blue_refuses_writes: true,
      });
      expect(document.checklist.every(({ ok }) => ok)).toBe(true);

      expect(JSON.parse(await readFile(join(report, 'report.json'), 'utf8'))).toEqual(document);
      const markdown = await readFile(join(report, 'report.md'), 'utf8');
      expect(markdown).toContain('# Rehearsal: PASSED');
      expect(markdown).toMatch(/\| cutover 2 \| \d+ ms \|/);
      expect(markdown).toMatch(/\| writes refused in the transition \| \d+ \| \d+ \|/);
      for (const text of [stdout, markdown, drill.notes()]) expect(text).not.toMatch(/postgres(ql)?:\/\//);
      expect(await left()).toEqual([]);
    },
    TIMEOUT_MS,
  );

  it(
    'turns red when an acknowledged write is gone, and when the standby differs, and keeps the evidence',
    async () => {
      let planted: number | undefined;
      const { exit, report: document } = await rehearse(
        loadSettings({ flags: {}, environment: {} }),
        {
          embedded: true,
          users: 1_000,
          rate: 100,
          soakMs: 1_000,
          seed: 'red',
          reportDirectory: report,
          signal: new AbortController().signal,
          note: () => undefined,
          program: PROGRAM,
          beforeCheck: async ({ after, serving, urls }) => {
            if (after !== 'cutover 1' || serving !== 'green') return;
            await execute(urls.green.app, 'DELETE FROM settings WHERE id <= 20');
            await execute(urls.green.app, 'DELETE FROM org_user WHERE user_id <= 20');
            await execute(urls.green.app, 'DELETE FROM org WHERE id <= 20');
            await execute(urls.green.app, 'DELETE FROM "user" WHERE id <= 20');
            // Past the fence, as only the sync role can; in a row that nobody writes to while green serves.
            const parked = await rows<{ id: number }>(
              urls.green.superuser,
              `SELECT id FROM orchestrator.parked WHERE reason = 'null_key' ORDER BY id LIMIT 1`,
            );
            planted = parked[0]?.id;
            await execute(
              urls.blue.sync,
              `UPDATE public.user_settings SET email = 'planted' WHERE id = ${planted}`,
            );
          },
        },
        silent,
      );
      expect(exit).toBe(3);
      expect(document.verdict).toBe('failed');
      expect(document.error?.code).toBe('REHEARSAL_FAILED');
      const [check] = document.checks;
      expect(check?.lost).toBeGreaterThan(0);
      expect(check?.compared?.differences).toBeGreaterThan(0);
      expect(check?.examples).toContainEqual(expect.objectContaining({ kind: 'lost' }));
      expect(check?.examples).toContainEqual({
        kind: 'different',
        key: planted,
        table: 'parked',
        columns: ['email'],
      });
      // The program's own sweep sees the difference too, and does not hand over (I9).
      expect(document.handovers.map((h) => [h.name, h.outcome])).toEqual([
        ['cutover 1', 'done'],
        ['revert 1', 'no-go'],
      ]);
      expect(document.failures.map((f) => f.expected)).toEqual(
        expect.arrayContaining(['0 acknowledged writes lost', '0 differences by the independent comparison']),
      );
      expect(await readFile(join(report, 'report.md'), 'utf8')).toContain('# Rehearsal: FAILED');
      expect((await stat(join(report, 'ledger.jsonl'))).size).toBeGreaterThan(0);
      expect((await stat(join(report, 'run.log'))).size).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );

  it(
    'leaves nothing after Ctrl-C, with exit 130',
    async () => {
      const { drill, runner } = await startedDrill();
      process.kill(drill.pid, 'SIGINT');
      const { exit, stdout } = await drill.ended;
      expect(exit).toBe(130);
      expect(JSON.parse(stdout)).toMatchObject({
        verdict: 'failed',
        exit: 130,
        error: { code: 'INTERRUPTED' },
      });
      expect(await left()).toEqual([]);
      expect(lives(runner)).toBe(false);
    },
    TIMEOUT_MS,
  );

  it(
    'leaves nothing after kill -9',
    async () => {
      const { drill, runner } = await startedDrill();
      process.kill(drill.pid, 'SIGKILL');
      await drill.ended;
      await until('everything to be gone', async () => (await left()).length === 0 && !lives(runner), 60_000);
    },
    TIMEOUT_MS,
  );

  it('refuses what is labelled production, and databases given by URL, before anything is started', async () => {
    const labelled = await start(['--embedded', '--json'], { ORCHESTRATE_ENVIRONMENT: 'production' }).ended;
    expect(JSON.parse(labelled.stdout)).toMatchObject({ error: { code: 'REHEARSAL_REFUSED' } });
    expect(labelled.exit).toBe(3);

    const pair = await freshPair();
    try {
      const urls = { ORCHESTRATE_BLUE_URL: pair.blue.urls.sync, ORCHESTRATE_GREEN_URL: pair.green.urls.sync };
      const given = await start(['--json'], urls).ended;
      expect(JSON.parse(given.stdout)).toMatchObject({ error: { code: 'CONFIG_INVALID' } });
      expect(given.exit).toBe(2);

      await execute(
        pair.green.urls.superuser,
        `ALTER DATABASE "${pair.green.database}" SET orchestrate.environment = 'production'`,
      );
      const production = await start(['--json'], urls).ended;
      expect(JSON.parse(production.stdout)).toMatchObject({ error: { code: 'REHEARSAL_REFUSED' } });
      expect(production.exit).toBe(3);
    } finally {
      await pair.drop();
    }
    expect(await left()).toEqual([]);
  });
});
