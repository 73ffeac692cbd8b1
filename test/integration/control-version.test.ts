/** A control schema that another version made: a runner says so before it takes the lease, and changes nothing. */
import { expect, it } from 'vitest';
import { ensureControl } from '../../orchestrator/phases/control.ts';
import { freshPair } from '../support/databases.ts';
import { orchestrate } from '../support/in-process.ts';
import { runContext } from '../support/run-context.ts';
import { execute, rows } from '../support/sql.ts';

const EVERYTHING = `
  SELECT (SELECT to_jsonb(s) FROM orchestrator.side AS s) AS side,
         (SELECT count(*)::integer FROM orchestrator.journal) AS journal,
         (SELECT count(*)::integer FROM orchestrator.lease) AS lease,
         (SELECT count(*)::integer FROM pg_replication_slots WHERE database = current_database()) AS slots`;

it('an older or a newer one is refused with a code, whichever side it is on', async () => {
  const pair = await freshPair();
  try {
    const ctx = runContext(pair, 'control-version');
    await ensureControl(ctx);
    const environment = {
      ORCHESTRATE_MIGRATION: 'control-version',
      ORCHESTRATE_BLUE_URL: pair.blue.urls.sync,
      ORCHESTRATE_GREEN_URL: pair.green.urls.sync,
      ORCHESTRATE_METRICS_LISTEN: 'off',
    };
    const before = await rows(pair.green.urls.superuser, EVERYTHING);
    const refused = async (side: 'blue' | 'green', found: RegExp) => {
      const ended = await orchestrate(['run', '--json', '--no-wait'], environment);
      expect([ended.exit, ended.json()]).toEqual([
        3,
        {
          error: expect.objectContaining({
            code: 'CONTROL_VERSION',
            message: expect.stringContaining(side),
            found: expect.stringMatching(found),
          }),
        },
      ]);
      expect(await rows(pair.green.urls.superuser, EVERYTHING)).toEqual(before);
    };
    await execute(pair.blue.urls.sync, `UPDATE orchestrator.migration SET digest = 'f00df00df00df00d'`);
    await refused('blue', /^one of \d{4}-.* UTC \(f00df00df00d\)$/);
    const [made] = await rows<{ digest: string }>(
      pair.green.urls.sync,
      'SELECT digest FROM orchestrator.migration',
    );
    await execute(pair.blue.urls.sync, `UPDATE orchestrator.migration SET digest = '${made?.digest}'`);
    await execute(pair.green.urls.sync, 'ALTER TABLE orchestrator.migration DROP COLUMN digest');
    await refused('green', /older than this check/);
  } finally {
    await pair.drop();
  }
});
