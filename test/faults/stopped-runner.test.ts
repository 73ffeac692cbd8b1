/** HISTORIES 24, zombie: a runner that was stopped past its lease, and goes on when another has taken over (I10). */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'vitest';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type Journey, journey, type Running } from '../support/journey.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

interface Stage {
  readonly pair: Pair;
  readonly j: Journey;
  readonly first: Running;
  readonly second: Running;
  /** What both sides say about who serves, and what has been decided. */
  readonly truth: () => Promise<unknown>;
  /** Entries of the journal that the first runner has written since the second took over. */
  readonly late: () => Promise<unknown[]>;
}

const TRUTH = 'SELECT generation::text, role, epoch::text FROM orchestrator.side';
const EPOCH = 'SELECT max(epoch)::text AS epoch FROM orchestrator.side';
const LATE = `
  SELECT event FROM orchestrator.journal AS j
  WHERE epoch <= $1 AND id > (SELECT min(id) FROM orchestrator.journal WHERE epoch > $1)`;

/**
 * Stops a runner at a failpoint, starts a second one and waits until it leads, lets the first go on at once from where
 * it was, and waits for its end.
 */
async function overtaken(
  failpoint: string,
  provoke: (pair: Pair, j: Journey) => unknown,
  meanwhile: (stage: Omit<Stage, 'late'>) => Promise<void>,
  check: (stage: Stage, exit: number | null) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'orchestrate-stopped-'));
  const release = join(directory, 'release');
  const pair = await freshPair();
  const j = journey(pair);
  const running: Running[] = [];
  try {
    await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 100, seed: 'stopped' }));
    const armed = join(directory, 'armed');
    await writeFile(armed, '');
    const first = j.run({
      ORCHESTRATE_TEST: '1',
      ORCHESTRATE_FAILPOINT: `@${armed}`,
      ORCHESTRATE_FAILPOINT_RELEASE: release,
    });
    running.push(first);
    await j.ready(first);
    await writeFile(armed, `${failpoint}:hang`);
    const provoked = provoke(pair, j);
    await until(`the first to be at ${failpoint}`, () => first.stderr().includes(`failpoint ${failpoint} 1`));
    first.kill('SIGSTOP');
    await writeFile(release, '');
    const [before] = await rows<{ epoch: string }>(pair.green.urls.superuser, EPOCH);
    const second = j.run();
    running.push(second);
    await until(
      'the second to lead',
      async () => {
        const [now] = await rows<{ led: boolean }>(
          pair.green.urls.superuser,
          `SELECT EXISTS (SELECT FROM orchestrator.journal WHERE epoch > $1 AND event = 'runner') AS led`,
          [before?.epoch],
        );
        return now?.led === true && (await j.status()).phase === 'syncing';
      },
      90_000,
    );
    const truth = async () => [
      await rows(pair.blue.urls.superuser, TRUTH),
      await rows(pair.green.urls.superuser, TRUTH),
    ];
    const stage = { pair, j, first, second, truth };
    await meanwhile(stage);
    first.kill('SIGCONT');
    const { exit } = await first.ended;
    const late = () => rows(pair.green.urls.superuser, LATE, [before?.epoch]);
    await check({ ...stage, late }, exit);
    await provoked;
  } finally {
    for (const runner of running) {
      runner.kill('SIGCONT');
      runner.kill('SIGKILL');
    }
    await Promise.all(running.map(({ ended }) => ended));
    await pair.drop();
    await rm(directory, { recursive: true, force: true });
  }
}

describe.concurrent('a runner stopped by SIGSTOP past its lease, another one started, the first continued', () => {
  it('before its decision: the first changes nothing and exits 7', async ({ expect }) => {
    let known: unknown;
    await overtaken(
      'decide.before',
      (_pair, j) => j.command('cutover', '--yes', '--json', '--accept-parked', 'all'),
      async ({ pair, truth, j }) => {
        // The lease of the fence has lapsed, and the second runner has opened blue.
        await execute(pair.blue.urls.app, `UPDATE user_settings SET llm_model = 'second' WHERE id = 1`);
        expect((await j.status()).serving).toBe('blue');
        known = await truth();
      },
      async ({ pair, truth, late }, exit) => {
        expect(exit).toBe(7);
        expect(await truth()).toEqual(known);
        expect(await late()).toEqual([]);
        expect(await rows(pair.blue.urls.superuser, 'SELECT FROM orchestrator.decision')).toEqual([]);
        await execute(pair.blue.urls.app, `UPDATE user_settings SET llm_model = 'still' WHERE id = 1`);
        await expect(
          execute(pair.green.urls.app, 'UPDATE settings SET llm_model = NULL'),
        ).rejects.toMatchObject({
          code: '25006',
        });
      },
    );
  });

  it('with rows applied and not committed: what the second wrote stays, and it exits 7', async ({
    expect,
  }) => {
    const written = async (pair: Pair) =>
      (
        await rows<{ token: string }>(
          pair.green.urls.superuser,
          'SELECT llm_model AS token FROM settings WHERE id = 1',
        )
      )[0]?.token;
    await overtaken(
      'apply.before',
      (pair) => execute(pair.blue.urls.app, `UPDATE user_settings SET llm_model = 'first' WHERE id = 1`),
      async ({ pair }) => {
        await execute(pair.blue.urls.app, `UPDATE user_settings SET llm_model = 'second' WHERE id = 1`);
        await until('the second to have applied it', async () => (await written(pair)) === 'second');
      },
      async ({ pair, late }, exit) => {
        expect(exit).toBe(7);
        expect(await late()).toEqual([]);
        expect(await written(pair)).toBe('second');
      },
    );
  });
});
