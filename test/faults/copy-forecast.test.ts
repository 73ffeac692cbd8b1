/** `plan` tells how long the copy takes from a sample of it, and leaves nothing behind. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { forecastCopy } from '../../orchestrator/copy/forecast.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import type { PlanDocument } from '../../orchestrator/runner/plan.ts';
import { catalogOf } from '../support/catalog.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { journey } from '../support/journey.ts';
import { runContext } from '../support/run-context.ts';
import { execute } from '../support/sql.ts';

let pair: Pair;
beforeEach(async () => {
  pair = await freshPair();
});
afterEach(async () => pair.drop());

const catalogs = () =>
  Promise.all([catalogOf(pair.blue.urls.superuser), catalogOf(pair.green.urls.superuser)]);

describe('the forecast of the copy', () => {
  it('comes from rows that were really copied, and nothing of it stays', async () => {
    await loadUsers(pair.blue.urls.owner, { users: 20_000, seed: 'plan' });
    const before = await catalogs();
    const { exit, stdout, stderr } = await journey(pair).command('plan', '--json', '--copy-workers', '2');
    expect([exit, stderr]).toEqual([0, '']);
    const { forecast } = (JSON.parse(stdout) as PlanDocument).copy;
    expect(forecast).toMatchObject({ rows: 20_000, format: 'binary' });
    expect(forecast?.sampled_rows).toBeGreaterThan(5_000);
    // The rest follows from the sample.
    expect(forecast?.seconds).toBeCloseTo(20_000 / (forecast?.rows_per_second ?? 0) + 0.3, 1);
    expect(await catalogs()).toEqual(before);
  });

  it('of a limited rate is that rate', async () => {
    await loadUsers(pair.blue.urls.owner, { users: 20_000, seed: 'plan' });
    const ctx = runContext(pair);
    const free = await forecastCopy(ctx, { workers: 2 });
    const slow = await forecastCopy(ctx, { workers: 2, maxRateBytes: 1_000_000 });
    expect(slow?.seconds).toBeGreaterThan(3 * (free?.seconds ?? Number.POSITIVE_INFINITY));
  });

  it('is open, with the reason, where there is nothing to sample or no right to', async () => {
    const copy = async (): Promise<PlanDocument['copy']> =>
      (await journey(pair).command('plan', '--json')).json<PlanDocument>().copy;
    expect(await copy()).toMatchObject({ forecast: null, forecast_unknown: 'there is no row to copy' });
    await execute(pair.blue.urls.owner, `INSERT INTO user_settings (keycloak_user_id) VALUES ('k')`);
    await execute(
      pair.green.urls.superuser,
      `REVOKE CREATE ON DATABASE ${pair.green.database} FROM ${pair.green.roles.sync}, ${pair.green.roles.owner};
       ALTER DATABASE ${pair.green.database} OWNER TO CURRENT_USER`,
    );
    expect(await copy()).toMatchObject({
      forecast: null,
      forecast_unknown: 'a right is missing: orchestrate preflight',
    });
  });
});
