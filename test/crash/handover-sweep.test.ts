/**
 * The crash sweep of the handover (I2, I4, I5, I12): every failpoint that a direction passes, times kill -9, a restart
 * of either server and a reset of every connection, with writers on both sides all the time.
 *
 * `ORCHESTRATE_CRASH_RUNS=all` makes every run there is (default: a sample of 60), `ORCHESTRATE_CRASH_FROM` leaves out
 * the first so many, `ORCHESTRATE_CRASH_SEED` chooses another order, `ORCHESTRATE_CRASH_ONLY` a pattern of labels.
 */
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HandoverKind, handoverFrom, otherSide, type Side } from '../../orchestrator/pg/side.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { type CrashCase, casesOf, countHits, label, shuffled } from '../support/crash-case.ts';
import { type OwnPair, ownPair } from '../support/databases.ts';
import { journey } from '../support/journey.ts';
import { changesOfSide, Knockers, longestGaps } from '../support/knockers.ts';
import { proxyTo } from '../support/proxy.ts';
import { rows, withClient } from '../support/sql.ts';
import { Supervised } from '../support/supervised.ts';
import { until } from '../support/until.ts';

const BUDGET_MS = 4_000;
/** What a client's next try and a busy machine add to a gap. */
const SLACK_MS = 1_500;

interface Row {
  readonly case: string;
  readonly kind: HandoverKind;
  readonly fault: string;
  readonly decided: boolean;
  readonly restarts: number;
  readonly writes: number;
  readonly gapBefore: number;
  readonly gapAfter: number;
  readonly seconds: number;
  readonly wrong: readonly string[];
}

interface Truth {
  readonly serving: Side;
  readonly generation: number;
}

describe('crash sweep of the handover', () => {
  let pair: OwnPair;
  let proxies: Record<Side, Awaited<ReturnType<typeof proxyTo>>>;
  let runner: Supervised;
  let knockers: Knockers;

  beforeAll(async () => {
    pair = await ownPair();
    await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 500, seed: 'sweep' }));
    proxies = { blue: await proxyTo(pair.blue.urls.sync), green: await proxyTo(pair.green.urls.sync) };
    const j = journey(pair, {
      blue: proxies.blue.url(pair.blue.urls.sync),
      green: proxies.green.url(pair.green.urls.sync),
    });
    const ids = await rows<{ id: number }>(
      pair.blue.urls.superuser,
      `SELECT min(id) AS id FROM user_settings WHERE keycloak_user_id <> '' GROUP BY keycloak_user_id ORDER BY 1 LIMIT 160`,
    );
    knockers = new Knockers(
      pair,
      ids.map((r) => r.id),
    );
    runner = new Supervised(j);
    await j.ready();
    knockers.start();
  });

  afterAll(async () => {
    await knockers?.end();
    await runner?.end();
    await proxies?.blue.close();
    await proxies?.green.close();
    await pair?.drop();
  });

  /** Who serves by the two sides' own rows; null while they disagree, a handover is under way or a server is away. */
  const truth = async (): Promise<Truth | null> => {
    const read = async (side: Side) =>
      (
        await rows<{ generation: string; role: string }>(
          pair[side].urls.superuser,
          'SELECT generation::text, role FROM orchestrator.side',
        )
      )[0];
    const [blue, green] = await Promise.all([read('blue'), read('green')]);
    const [run] = await rows<{ phase: string }>(
      pair.green.urls.superuser,
      'SELECT phase FROM orchestrator.run',
    );
    if (!blue || !green || blue.generation !== green.generation || blue.role === green.role) return null;
    if (run?.phase !== 'syncing') return null;
    return { serving: blue.role === 'serving' ? 'blue' : 'green', generation: Number(blue.generation) };
  };
  const settled = (patience = 60_000) => until('one side to serve', truth, patience);

  const ask = async (kind: HandoverKind): Promise<string> => {
    const asked = await rows<{ id: string }>(
      pair.green.urls.superuser,
      `WITH asked AS (
         INSERT INTO orchestrator.request (migration, command, options, epoch, expires_at)
         SELECT migration, $1, $2::jsonb, epoch, clock_timestamp() + interval '30 s' FROM orchestrator.side
         RETURNING id::text)
       SELECT id, pg_notify('orchestrate', 'request') FROM asked`,
      [
        kind,
        JSON.stringify({
          dryRun: false,
          rehearse: false,
          freezeBudgetMs: BUDGET_MS,
          acceptParked: 'all',
        }),
      ],
    );
    return asked[0]?.id ?? '';
  };
  interface Answer {
    readonly status: string;
    readonly exit: number | null;
    readonly found: string | null;
  }
  const answer = async (id: string): Promise<Answer | undefined> =>
    (
      await rows<Answer>(
        pair.green.urls.superuser,
        `SELECT status, (result->>'exit')::integer AS exit, result->'document'->'error'->>'message' AS found
         FROM orchestrator.request WHERE id = $1`,
        [id],
      )
    )[0];
  const answered = async (id: string): Promise<Answer> =>
    until(
      `an answer to request ${id}`,
      async () => {
        const now = await answer(id).catch(() => undefined);
        return now && now.status !== 'pending' && now.status !== 'claimed' ? now : null;
      },
      60_000,
    );

  /** A handover that nothing disturbs, to be where the next case begins. */
  const plain = async (kind: HandoverKind, begin?: () => void): Promise<void> => {
    await until(
      `${kind} to be done`,
      async () => {
        begin?.();
        const ended = await answered(await ask(kind));
        if (ended.exit !== 0) process.stderr.write(`undisturbed ${kind}: ${JSON.stringify(ended)}\n`);
        return ended.exit === 0;
      },
      90_000,
    );
    await settled();
  };

  /** The fault itself. @returns for how long a server was away, in ms. */
  const inject = async (fault: CrashCase['fault']): Promise<number> => {
    const began = performance.now();
    switch (fault) {
      case 'kill':
        runner.kill();
        return 0;
      case 'reset':
        proxies.blue.cut();
        proxies.green.cut();
        return 0;
      case 'blue':
      case 'green':
        await pair.servers[fault].stop('immediate');
    }
    return began;
  };

  const sweepOne = async (one: CrashCase): Promise<Row> => {
    const began = performance.now();
    const wrong: string[] = [];
    const before = await settled();
    if (handoverFrom(before.serving) !== one.kind) throw new Error('the wrong side serves');
    knockers.start();
    knockers.take();
    await until('a write before the fault', () => knockers.accepts(before.serving));
    const from = performance.timeOrigin + performance.now();
    const restartsBefore = runner.restarts;
    let outputFrom = runner.output.length;
    let away = 0;
    let request = '';

    let [first, ...later] = one.points;
    for (let tries = 1; first; tries++) {
      runner.arm(`${first.name}:hang:${first.nth}`);
      request = await ask(one.kind);
      const hit = await runner.reached(first.name, outputFrom, async () => {
        const now = await answer(request).catch(() => undefined);
        return now?.status === 'done' || now?.status === 'cancelled';
      });
      if (hit) break;
      // A gate was shut: the runner of a case before has only just begun.
      const said = await answer(request);
      if (said?.exit === 0 || tries === 10)
        throw new Error(
          `${label(one)} was not reached: ${JSON.stringify(said)} after ${tries} tries\n${runner.output.slice(-2_000)}`,
        );
    }
    for (; first; [first, ...later] = later) {
      const reached = await runner.reached(first.name, outputFrom, async () => false).catch(() => false);
      if (!reached) {
        wrong.push(`${first.name} was not reached`);
        break;
      }
      outputFrom = runner.output.length;
      const next = later[0];
      const armed = next ? `${next.name}:hang:${next.nth}` : '';
      if (!first.fault) {
        runner.arm(armed);
        continue;
      }
      const stopped = await inject(one.fault);
      runner.arm(armed);
      if (one.fault === 'blue' || one.fault === 'green') {
        await pair.servers[one.fault].start();
        away += performance.now() - stopped;
      }
    }
    runner.arm('');

    const ended = await answered(request).catch((error: unknown) => {
      wrong.push(String(error));
    });
    const after = await settled().catch(() => null);
    if (!after) {
      wrong.push('no good state');
      throw new Error(`${label(one)} ${one.fault}: no good state: ${runner.output.slice(-3_000)}`);
    }
    const decided = after.generation > before.generation;
    if (after.generation > before.generation + 1) wrong.push('more than one handover');
    const sideOk = after.serving === (decided ? otherSide(before.serving) : before.serving);
    if (!sideOk) wrong.push('the rows and the generation disagree');
    if (ended?.exit === 0 && !decided) wrong.push('answered done, but nothing was decided');
    const seen = performance.timeOrigin + performance.now();
    await until('writes to come back', () => knockers.acceptedSince(after.serving, seen), 20_000).catch(() =>
      wrong.push('no writes'),
    );
    await knockers.rest();
    const to = performance.timeOrigin + performance.now();
    const lost = await knockers.lost(after.serving);
    if (lost.serving.length > 0) wrong.push(`lost on ${after.serving}: ${lost.serving.join(' ')}`);
    if (lost.standby.length > 0) wrong.push(`missing on the standby: ${lost.standby.join(' ')}`);

    const accepted = knockers.take();
    const changes = changesOfSide(accepted, before.serving);
    if (changes > after.generation - before.generation)
      wrong.push(`both sides took writes: ${changes} changes`);
    const decidedAt = decided ? await decisionTime(before.serving, after.generation) : to;
    const gaps = longestGaps(accepted, { from, until: decidedAt, to });
    if (gaps.before > BUDGET_MS + SLACK_MS + away) wrong.push(`no writes for ${Math.round(gaps.before)} ms`);
    return {
      case: label(one),
      kind: one.kind,
      fault: one.fault,
      decided,
      restarts: runner.restarts - restartsBefore,
      writes: accepted.length,
      gapBefore: gaps.before,
      gapAfter: gaps.after,
      seconds: (performance.now() - began) / 1_000,
      wrong,
    };
  };

  const decisionTime = async (side: Side, generation: number): Promise<number> => {
    const [row] = await rows<{ at: number }>(
      pair[side].urls.superuser,
      `SELECT (extract(epoch FROM decided_at) * 1000)::double precision AS at
       FROM orchestrator.decision WHERE generation = $1`,
      [generation],
    );
    if (!row) throw new Error(`no decision ${generation} on ${side}`);
    return row.at;
  };

  /** One undisturbed handover, and every failpoint it passed. */
  const traced = async (kind: HandoverKind): Promise<Map<string, number>> => {
    let from = 0;
    await plain(kind, () => {
      from = runner.output.length;
      // The count begins anew with every change.
      runner.arm(`*:trace:${from}`);
    });
    runner.arm('');
    return countHits(runner.output.slice(from));
  };

  it('nothing acknowledged is lost, never do both sides take writes, and run alone mends everything', async () => {
    const hits = { cutover: await traced('cutover'), revert: await traced('revert') };
    for (const kind of ['cutover', 'revert'] as const)
      for (const step of ['freeze', 'drain', 'verify', 'stop', 'arm', 'decide', 'open', 'switch', 'reverse'])
        expect([...hits[kind].keys()], kind).toContain(`${step}.after`);
    const all = shuffled(
      [...casesOf('cutover', hits.cutover), ...casesOf('revert', hits.revert)],
      process.env['ORCHESTRATE_CRASH_SEED'] ?? 'handover',
    ).filter((one) => new RegExp(process.env['ORCHESTRATE_CRASH_ONLY'] ?? '').test(label(one)));
    const count = process.env['ORCHESTRATE_CRASH_RUNS'] ?? '60';
    const start = Number(process.env['ORCHESTRATE_CRASH_FROM'] ?? 0);
    const wanted = all.slice(start, count === 'all' ? undefined : start + Number(count));
    const left: Record<HandoverKind, CrashCase[]> = {
      cutover: wanted.filter((one) => one.kind === 'cutover'),
      revert: wanted.filter((one) => one.kind === 'revert'),
    };
    const table: Row[] = [];
    while (left.cutover.length + left.revert.length > 0) {
      const { serving } = await settled();
      const kind = handoverFrom(serving);
      const one = left[kind].shift();
      if (!one) {
        await plain(kind);
        continue;
      }
      const row = await sweepOne(one);
      table.push(row);
      process.stderr.write(`${line(row)}\n`);
    }
    report(table, all.length);
    expect(table.length).toBe(wanted.length);
    expect(table.filter((row) => row.wrong.length > 0)).toEqual([]);
  });
});

const line = (row: Row): string =>
  [
    row.kind.padEnd(7),
    row.case.padEnd(34),
    row.fault.padEnd(5),
    row.decided ? 'decided ' : 'reopened',
    `restarts ${row.restarts}`,
    `writes ${String(row.writes).padStart(5)}`,
    `gap ${String(Math.round(row.gapBefore)).padStart(5)} ms before`,
    `${String(Math.round(row.gapAfter)).padStart(5)} ms after`,
    `${row.seconds.toFixed(1).padStart(5)} s`,
    row.wrong.length === 0 ? 'ok' : `WRONG ${row.wrong.join('; ')}`,
  ].join('  ');

function report(table: readonly Row[], all: number): void {
  const longest = (pick: (row: Row) => number) => Math.round(Math.max(0, ...table.map(pick)));
  const text = [
    ...table.map(line),
    `${table.length} of ${all} runs, ${table.filter((r) => r.decided).length} decided, ` +
      `${table.filter((r) => r.wrong.length > 0).length} wrong; longest gap before a decision ` +
      `${longest((r) => r.gapBefore)} ms (budget ${BUDGET_MS} ms), after it ${longest((r) => r.gapAfter)} ms`,
  ].join('\n');
  process.stdout.write(`\n${text}\n`);
  const file = process.env['ORCHESTRATE_CRASH_TABLE'];
  if (file !== undefined) writeFileSync(file, `${text}\n`);
}
