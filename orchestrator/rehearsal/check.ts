import type { Side } from '../pg/side.ts';
import { checkPromises } from './comparison/promises.ts';
import { compareSides } from './comparison.ts';
import { openSession } from './connection.ts';
import { type Facts, foldFacts } from './ledger/facts.ts';
import { readLedger } from './ledger.ts';
import type { Scene } from './scene.ts';

const EXAMPLES = 20;
/** How long a stream may take for what the writers left behind, before the comparison is made anyway and decides. */
const DRAIN_MS = 3_000;

/** Whether the application's own role may write there: a statement that touches no row meets the fence all the same. */
const TOUCH = {
  blue: 'UPDATE user_settings SET language = language WHERE id = -1',
  green: 'UPDATE settings SET language = language WHERE id = -1',
} as const satisfies Record<Side, string>;

/**
 * Proves a handover with the writers at rest: every acknowledged write is on the serving side (I2), both sides hold
 * the same facts by the independent comparison (I1, I7), and the standby refuses the application (I4).
 */
export async function check(
  scene: Scene,
  after: string,
  serving: Side,
  greenWritten: boolean,
): Promise<void> {
  const { book, stop, pair } = scene;
  const databases = { blue: pair.urls.blue.superuser, green: pair.urls.green.superuser };
  await book.stage(
    'proof',
    async () => {
      const began = performance.now();
      await stop.guard(scene.workload.pause());
      await drained(scene, serving);
      await scene.beforeCheck?.({ after, serving, urls: pair.urls });
      const promises = await stop.guard(
        checkPromises({ database: databases[serving], side: serving, ledger: scene.ledger.path }),
      );
      const compared = await stop.guard(compareSides({ databases, serving, greenWritten }));
      const refused = await stop.guard(refusesWrites(scene, serving === 'blue' ? 'green' : 'blue'));
      scene.workload.resume();
      const quiet = (performance.now() - began) / 1_000;
      if (!promises.clean)
        book.fail(after, '0 acknowledged writes lost', `${promises.lost.length} lost on ${serving}`);
      if (!compared.clean)
        book.fail(after, '0 differences by the independent comparison', `${compared.total} differences`);
      if (!refused) book.fail(after, 'the standby refuses writes of the application', 'it takes them');
      book.checks.push({
        after,
        serving,
        acknowledged: promises.acknowledged,
        lost: promises.lost.length,
        facts_looked_up: promises.facts,
        compared: {
          blue_rows: compared.blueRows,
          mapped: compared.mapped,
          parked: compared.parked,
          differences: compared.total,
        },
        examples: [...promises.lost, ...compared.differences].slice(0, EXAMPLES),
        quiet_seconds: quiet,
      });
      return { promises, compared };
    },
    ({ promises, compared }) =>
      `${promises.acknowledged} acknowledged, ${promises.lost.length} lost · ${compared.blueRows} rows, ${compared.total} differences`,
  );
}

/**
 * The same where green is left alone: only the promises can be checked. Parked rows, which were accepted, went with
 * the control schema and are on blue alone: there they must be found.
 * @param parked ids of the rows that were parked when the migration ended.
 */
export async function checkEnd(scene: Scene, parked: ReadonlySet<number>): Promise<void> {
  const { book, pair, ledger, stop } = scene;
  const facts = await foldFacts(readLedger(ledger.path));
  const part = (aside: boolean): Facts => ({
    ...facts,
    users: new Map([...facts.users].filter(([k]) => parked.has(k) === aside)),
    everyUser: aside ? new Map() : facts.everyUser,
  });
  const kept = await stop.guard(
    checkPromises({ database: pair.urls.green.superuser, side: 'green', ledger: part(false) }),
  );
  const aside = await stop.guard(
    checkPromises({ database: pair.urls.blue.superuser, side: 'blue', ledger: part(true) }),
  );
  if (!kept.clean) book.fail('finalize', '0 acknowledged writes lost', `${kept.lost.length} lost on green`);
  if (!aside.clean)
    book.fail('finalize', 'writes to parked rows are on blue', `${aside.lost.length} are not there`);
  const lost = [...kept.lost, ...aside.lost];
  book.checks.push({
    after: 'finalize',
    serving: 'green',
    acknowledged: kept.acknowledged,
    lost: lost.length,
    facts_looked_up: kept.facts + aside.facts,
    compared: null,
    examples: lost.slice(0, EXAMPLES),
    quiet_seconds: 0,
  });
}

/** Waits for the stream to carry over what was written; the comparison itself is patient with the rest. */
async function drained({ watch, stop }: Scene, serving: Side): Promise<void> {
  const position = await stop.guard(watch.written(serving));
  const deadline = performance.now() + DRAIN_MS;
  while (performance.now() < deadline) {
    if ((await stop.guard(watch.behind(serving, position))) === 0) return;
    await stop.pass(50);
  }
}

/** @returns whether the application's role is refused with the fence's SQLSTATE. */
export async function refusesWrites({ pair }: Pick<Scene, 'pair'>, side: Side): Promise<boolean> {
  const client = await openSession(pair.urls[side].app, 'application');
  try {
    await client.query(TOUCH[side]);
    return false;
  } catch (error) {
    return (error as { code?: string }).code === '25006';
  } finally {
    await client.end();
  }
}
