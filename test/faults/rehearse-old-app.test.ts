/** `rehearse --old-app-on-green --traffic pgbouncer`: an unchanged application crosses three handovers, and nothing of it fails. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ErrorDocument } from '../../orchestrator/errors/failure.ts';
import type { RehearsalReport } from '../../orchestrator/rehearsal/report.ts';
import { orchestrate } from '../support/in-process.ts';
import { PGBOUNCER } from '../support/pgbouncer.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'orchestrate-old-app-'));
});
afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
});

it('behind one address a new application could not be told which schema it meets: refused', async () => {
  const ended = await orchestrate(['rehearse', '--traffic', 'pgbouncer', '--json'], {});
  expect([ended.exit, ended.json<{ error: ErrorDocument }>().error.fix]).toEqual([
    2,
    'orchestrate rehearse --old-app-on-green --traffic pgbouncer',
  ]);
});

describe.skipIf(!PGBOUNCER.found)('with pgbouncer', () => {
  it('the old statements cross cutover, revert and cutover without one that fails', async () => {
    const scale = ['--users', '500', '--rate', '50', '--soak', '2s', '--report', join(directory, 'report')];
    const ended = await orchestrate(
      ['rehearse', '--embedded', '--old-app-on-green', '--traffic', 'pgbouncer', '--json', ...scale],
      {},
    );
    const report = ended.json<RehearsalReport>();
    expect([report.verdict, report.failures, ended.exit]).toEqual(['passed', [], 0]);
    expect(report.handovers.map((h) => h.outcome)).toEqual(['done', 'done', 'done']);
    expect(report.workload).toMatchObject({ refused: 0, abandoned: 0, unknown: 0 });
    expect(report.workload?.acknowledged).toBeGreaterThan(100);
    expect(report.checks.map((c) => c.lost)).toEqual([0, 0, 0, 0]);
    expect(report.configuration.compat_view).toBe(true);
  });
});
