/** A migration in sync under load, for benchmarks of what is done to it: servers, runner and application. */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { setUpDatabase } from '../../orchestrator/rehearsal/embedded/roles.ts';
import { startServer } from '../../orchestrator/rehearsal/embedded/server.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { Ledger } from '../../orchestrator/rehearsal/ledger.ts';
import { createSourceTable } from '../../orchestrator/rehearsal/source-table.ts';
import { startWorkload, type Workload } from '../../orchestrator/rehearsal/workload.ts';
import type { Pair } from '../support/databases.ts';
import { type Journey, journey } from '../support/journey.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

/** The servers' settings: as an installation of this size has them, and the same on both sides. */
const SETTINGS = {
  shared_buffers: '512MB',
  max_wal_size: '16GB',
  checkpoint_timeout: '30min',
};

/** The long way to sync with a million rows, on a slow machine. */
const PATIENCE_MS = 900_000;

export interface Live {
  readonly urls: Pick<Pair, 'blue' | 'green'>;
  readonly journey: Journey;
  readonly workload: Workload;
  readonly ledger: Ledger;
}

export interface LiveOptions {
  readonly users: number;
  /** Writes a second, over all clients. */
  readonly rate: number;
  readonly clients: number;
}

const READY = `
  SELECT FROM orchestrator.run AS r
  WHERE r.phase = 'syncing' AND EXISTS (SELECT FROM orchestrator.sweep AS s WHERE s.clean)
    AND EXISTS (SELECT FROM orchestrator.journal WHERE event = 'reverse-prepared')`;

/** Makes all of it, runs `work` once the first sweep is clean and the way back is made, and ends it again. */
export async function withLive<T>(options: LiveOptions, work: (live: Live) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(os.tmpdir(), 'orchestrate-bench-'));
  const [blueServer, greenServer] = await Promise.all([
    startServer({ major: 15, settings: SETTINGS }),
    startServer({ major: 18, settings: SETTINGS }),
  ]);
  let run: ReturnType<Journey['run']> | undefined;
  let workload: Workload | undefined;
  try {
    const roles = { owner: 'app_owner', app: 'app_rw', sync: 'orchestrate_sync' };
    const blue = { ...(await setUpDatabase(blueServer, { database: 'blue' })), major: 15 as const, roles };
    const green = { ...(await setUpDatabase(greenServer, { database: 'green' })), major: 18 as const, roles };
    await withClient(blue.urls.owner, createSourceTable);
    await loadUsers(blue.urls.superuser, { users: options.users, seed: 1, profile: 'bench' });
    await execute(blue.urls.superuser, 'VACUUM ANALYZE user_settings');
    const made = journey({ blue, green, drop: async () => {} });
    run = made.run({ ORCHESTRATE_ACCEPT_PARKED: 'all' });
    const running = run;
    await until(
      'the first clean sweep',
      async () => {
        if (running.process.exitCode !== null)
          throw new Error(`run has ended: ${running.stderr().slice(-2_000)}`);
        return (await rows(green.urls.superuser, READY)).length > 0;
      },
      PATIENCE_MS,
    );
    const ledger = new Ledger(join(directory, 'ledger'));
    workload = await startWorkload({
      databases: { blue: blue.urls.app, green: green.urls.app },
      ledger,
      clients: options.clients,
      rate: options.rate,
    });
    return await work({ urls: { blue, green }, journey: made, workload, ledger });
  } finally {
    await workload?.stop();
    run?.kill('SIGTERM');
    await run?.ended;
    await Promise.all([blueServer.remove(), greenServer.remove()]);
    rmSync(directory, { recursive: true, force: true });
  }
}
