import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type Journey, journey, type Running } from '../support/journey.ts';
import { withClient } from '../support/sql.ts';
import { requireTool } from '../support/tool.ts';
import { until } from '../support/until.ts';

let pair: Pair;
let program: Journey;

beforeAll(async () => {
  pair = await freshPair();
  program = journey(pair);
  await withClient(pair.blue.urls.owner, async (client) => {
    await loadUsers(client, { users: 200, seed: 'metrics' });
  });
});
afterAll(async () => {
  await pair.drop();
});

/** The address is in the log: the port was left to the system. */
async function addressOf(running: Running): Promise<string> {
  return until('the address of the metrics', () => {
    if (running.process.exitCode !== null) throw new Error(`run ended: ${running.stderr()}`);
    const port = /metrics are served host=127\.0\.0\.1 port=(\d+)/.exec(running.stderr())?.[1];
    return port === undefined ? null : `http://127.0.0.1:${port}`;
  });
}

const scrape = async (url: string) => (await fetch(`${url}/metrics`)).text();

/** The value of a series; undefined when it is absent. */
function value(text: string, name: string, ...labels: string[]): number | undefined {
  const line = text
    .split('\n')
    .find((l) => l.startsWith(`orchestrate_${name}{`) && labels.every((x) => l.includes(x)));
  return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ')));
}

describe('the metrics of a run', () => {
  it('tell of every part, pass promtool, and go on with the same numbers after a restart', async (context) => {
    const first = program.run();
    const url = await addressOf(first);
    await program.ready(first);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    // A look at a side sets its series one after another: the figures are those of a whole look, in the phase they are of.
    const seen = await until('figures of both sides', async () => {
      const text = await scrape(url);
      const known = ['fence_state', 'slot_wal_status', 'table_rows', 'replication_lag_bytes', 'parked_rows'];
      const complete =
        known.every((name) => value(text, name) !== undefined) &&
        ['fence_state', 'query_probe_duration_seconds'].every((name) =>
          ['blue', 'green'].every((side) => value(text, name, `side="${side}"`) !== undefined),
        ) &&
        value(text, 'phase', 'phase="syncing"') === 1;
      return complete ? text : null;
    });
    expect(value(seen, 'serving_side', 'side="blue"')).toBe(1);
    expect(value(seen, 'leader')).toBe(1);
    expect(value(seen, 'freeze_active')).toBe(0);
    expect(value(seen, 'pool_connections', 'side="green"', 'state="idle"')).toBeGreaterThan(0);
    expect(value(seen, 'fence_state', 'side="green"', 'state="closed"')).toBe(1);
    expect(value(seen, 'slot_wal_status', 'side="blue"', 'status="reserved"')).toBe(1);
    for (const side of ['blue', 'green'])
      expect(
        value(seen, 'query_probe_duration_seconds', `side="${side}"`, 'query="settings"'),
      ).toBeGreaterThan(0);
    expect(value(seen, 'verify_last_success_timestamp_seconds')).toBeGreaterThan(1.6e9);
    const copied = value(seen, 'copy_rows_total', 'table="user"') ?? 0;
    expect(copied).toBeGreaterThan(100);
    // Nothing of a connection but where it leads.
    expect(seen).not.toMatch(/postgres(ql)?:\/\/|password/i);

    // The counters are stored every other second: from here on a restart continues them.
    await until('stored counters', async () => {
      const rows = await withClient(pair.green.urls.superuser, (client) =>
        client.query('SELECT FROM orchestrator.counter WHERE name = $1', ['copy_rows_total']),
      );
      return (rows.rowCount ?? 0) > 0;
    });
    first.kill('SIGTERM');
    expect((await first.ended).exit).toBe(143);

    const second = program.run();
    try {
      const again = await addressOf(second);
      const after = await until('the lease', async () => {
        const text = await scrape(again);
        return value(text, 'leader') === 1 ? text : null;
      });
      expect(value(after, 'copy_rows_total', 'table="user"')).toBe(copied);
      const promtool = requireTool('promtool', 'apt-get install prometheus');
      if (!promtool.found) return context.skip(promtool.reason);
      const options = { input: after, encoding: 'utf8' } as const;
      expect(execFileSync(promtool.path, ['check', 'metrics'], options)).toBe('');
    } finally {
      second.kill('SIGTERM');
      await second.ended;
    }
  }, 180_000);
});
