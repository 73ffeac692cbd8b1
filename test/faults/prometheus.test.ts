/**
 * Real Prometheus scrapes the real program on its way: every panel of the dashboard has data in the phase it is for, and
 * the alerts that should fire do, on a copy of the rules with shorter times and smaller thresholds.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../../orchestrator/rehearsal/embedded/port.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import type { HandoverDocument } from '../../orchestrator/state/documents.ts';
import type { Shown } from '../support/dashboard/panel.ts';
import { filledIn } from '../support/dashboard/problems.ts';
import { ROWS } from '../support/dashboard/rows.ts';
import { type OwnPair, ownPair } from '../support/databases.ts';
import { journey, type Running } from '../support/journey.ts';
import { type Prometheus, startPrometheus } from '../support/prometheus.ts';
import { execute, withClient } from '../support/sql.ts';
import { requireTool } from '../support/tool.ts';
import { until } from '../support/until.ts';

const RULES = new URL('../../grafana/rules/orchestrate.yaml', import.meta.url);
const MIGRATION = 'watched';
const DEADLINE_MS = 60_000;

/** Minutes become seconds, and what takes gigabytes takes a megabyte. The expressions stay what they are. */
const lowered = (rules: string): string =>
  rules
    .replaceAll(/for: [1-9]\d*m/g, 'for: 1s')
    .replaceAll(/\[(?:5|10|15)m\]/g, '[10s]')
    .replaceAll('> 16777216', '> 1000')
    .replaceAll('> 10737418240', '> 1000000');

/** The phases in which a panel of this kind has to show something; the others show what a handover has left. */
const DURING: Partial<Record<Shown, readonly string[]>> = {
  always: ['copying', 'syncing'],
  copying: ['copying'],
  syncing: ['syncing'],
};

const panels = ROWS.flatMap((row) => row.panels);
const prometheus = requireTool('prometheus', 'apt-get install prometheus');

/** An application that follows the side which takes its writes. */
function application(pair: OwnPair): { stop: () => Promise<void> } {
  const sides = [
    [pair.blue.urls.app, "UPDATE user_settings SET language = 'en' WHERE id = $1"],
    [pair.green.urls.app, "UPDATE settings SET language = 'en' WHERE id = $1"],
  ] as const;
  const ending = new AbortController();
  const work = async (): Promise<void> => {
    for (let turn = 0; !ending.signal.aborted; turn++) {
      const [url, statement] = sides[turn % 2] as (typeof sides)[number];
      const client = new pg.Client({ connectionString: url });
      client.on('error', () => undefined);
      await client.connect();
      try {
        for (let id = 1; !ending.signal.aborted; id++) {
          await client.query(statement, [1 + (id % 500)]);
          await delay(50);
        }
      } catch {
        // Refused: the other side it is. What was refused on blue inside a freeze is blue's once more.
      } finally {
        await client.end().catch(() => undefined);
      }
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

describe.skipIf(!prometheus.found)('watched by Prometheus', () => {
  const directory = mkdtempSync(join(tmpdir(), 'watched-'));
  const cleaning: (() => Promise<unknown>)[] = [];
  let pair: OwnPair;
  let seen: Prometheus;
  let target = '';
  const began = Date.now() / 1_000;

  beforeAll(async () => {
    const settings = { max_slot_wal_keep_size: '8GB' };
    pair = await ownPair({ blue: settings, green: settings });
    cleaning.push(() => pair.drop());
    await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 12_000, seed: 'watched' }));
    target = `127.0.0.1:${await freePort()}`;
    if (!prometheus.found) return;
    seen = await startPrometheus(prometheus.path, lowered(readFileSync(RULES, 'utf8')), target);
    cleaning.push(() => seen.stop());
  });
  afterAll(async () => {
    for (const clean of cleaning.reverse()) await clean().catch(() => undefined);
    rmSync(directory, { recursive: true, force: true });
  });

  /** Waits until every panel has shown something in the phases it is for, or since a handover began. */
  async function shown(phases: readonly Shown[], since = began): Promise<void> {
    let missing = panels
      .filter((p) => phases.includes(p.shown))
      .flatMap((panel) => (DURING[panel.shown] ?? ['']).map((phase) => ({ panel, phase })));
    expect(missing.length).toBeGreaterThan(0);
    const told = ({ panel, phase }: (typeof missing)[number]) => `${phase || panel.shown}: ${panel.title}`;
    const all = missing.map(told);
    try {
      await until(
        `data in the panels of ${phases.join(', ')}`,
        async () => {
          const empty: typeof missing = [];
          for (const one of missing) {
            const queries = one.panel.queries.map((q) => during(asked(q.expr), one.phase));
            const counts = await Promise.all(queries.map((q) => seen.samples(q, since)));
            if (counts.some((n) => n === 0)) empty.push(one);
          }
          missing = empty;
          return missing.length === 0;
        },
        DEADLINE_MS,
      );
    } catch (error) {
      throw new Error(`no data: ${missing.map(told).join(', ')}`, { cause: error });
    }
    process.stdout.write(`${all.map((line) => `panel with data, ${line}`).join('\n')}\n`);
  }
  /** Only what there was while the runner itself said that it was in this phase. */
  const during = (expr: string, phase: string): string =>
    phase === ''
      ? expr
      : `(${expr}) and on () (orchestrate_phase{migration="${MIGRATION}",phase="${phase}"} == 1)`;
  const asked = (expr: string): string =>
    filledIn(expr.replaceAll('$__rate_interval', '10s').replaceAll('$migration', MIGRATION));

  async function fires(alert: string, since: number): Promise<void> {
    await until(`the alert ${alert}`, async () => (await seen.fired(since)).includes(alert), DEADLINE_MS);
    process.stdout.write(`alert fired: ${alert}\n`);
  }

  it('every panel shows something in its phase, and the right alerts fire', async () => {
    const program = journey(pair);
    const run = (more: Record<string, string> = {}): Running => {
      const running = program.run(
        more,
        '--migration',
        MIGRATION,
        '--metrics-listen',
        target,
        '--max-copy-rate',
        '1MiB',
        '--copy-workers',
        '1',
      );
      cleaning.push(async () => {
        running.kill('SIGKILL');
        await running.ended;
      });
      return running;
    };
    const command = (...args: string[]) =>
      program.commandIn({ ORCHESTRATE_MIGRATION: MIGRATION, ORCHESTRATE_ACCEPT_PARKED: 'all' }, ...args);
    const app = application(pair);
    cleaning.push(app.stop);
    const first = run();
    await until(
      'sync, proved',
      async () => {
        if (first.process.exitCode !== null) throw new Error(first.stderr().slice(-2_000));
        return (await command('cutover', '--dry-run', '--json')).exit === 0;
      },
      120_000,
    );
    await shown(['always', 'copying', 'syncing']);

    // A lock that somebody holds on green: received, and not applied.
    let since = Date.now() / 1_000;
    await withClient(pair.green.urls.superuser, async (client) => {
      await client.query('BEGIN');
      await client.query('LOCK TABLE settings IN ACCESS EXCLUSIVE MODE');
      await fires('ReplicationStalled', since);
      await client.query('ROLLBACK');
    });

    // A forgotten job on the standby.
    since = Date.now() / 1_000;
    await until('the alert StandbyWrites', async () => {
      await expect(
        execute(pair.green.urls.app, "UPDATE settings SET language = 'xx' WHERE id = 1"),
      ).rejects.toThrow();
      return (await seen.fired(since)).includes('StandbyWrites');
    });
    process.stdout.write('alert fired: StandbyWrites\n');

    // A runner that is gone.
    since = Date.now() / 1_000;
    first.kill('SIGTERM');
    await first.ended;
    await fires('SyncDown', since);

    // Sync that stands still while blue writes on.
    since = Date.now() / 1_000;
    const release = join(directory, 'release');
    run({
      ORCHESTRATE_TEST: '1',
      ORCHESTRATE_FAILPOINT: 'apply.before:hang',
      ORCHESTRATE_FAILPOINT_RELEASE: release,
    });
    await execute(
      pair.blue.urls.superuser,
      "SELECT pg_logical_emit_message(false, 'other', repeat('x', 4000000))",
    );
    await fires('SlotWalRetentionHigh', since);
    writeFileSync(release, '');

    // The frozen minute itself, without and with a switch.
    since = Date.now() / 1_000;
    const handover = async (...args: string[]): Promise<HandoverDocument> => {
      const ended = await until(
        args.join(' '),
        async () => {
          const said = await command(...args, '--yes', '--json');
          return said.exit === 0 ? said.json<HandoverDocument>() : null;
        },
        DEADLINE_MS,
      );
      return ended;
    };
    expect((await handover('cutover', '--rehearse')).outcome).toBe('rehearsed');
    await shown(['rehearsed'], since);
    since = Date.now() / 1_000;
    expect((await handover('cutover')).outcome).toBe('done');
    await shown(['handed-over'], since);
    const fired = await seen.fired(began);
    process.stdout.write(`alerts fired in all: ${fired.toSorted().join(', ')}\n`);
    for (const never of ['FreezeOverBudget', 'DecidedNotOpen', 'VerifyMismatch', 'SlotLost'])
      expect(fired).not.toContain(never);
  }, 300_000);
});
