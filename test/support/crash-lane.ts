/** One pair of servers with a supervised runner and writers on both sides, on which crash cases follow each other. */
import { type HandoverKind, handoverFrom, otherSide, type Side } from '../../orchestrator/pg/side.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { type CrashCase, countHits, label } from './crash-case.ts';
import type { CrashRow } from './crash-table.ts';
import { type OwnPair, ownPair } from './databases.ts';
import { journey } from './journey.ts';
import { changesOfSide, Knockers, longestGaps } from './knockers.ts';
import { proxyTo } from './proxy.ts';
import { rows, withClient } from './sql.ts';
import { Supervised } from './supervised.ts';
import { until } from './until.ts';
import { WatchedSide } from './watched-side.ts';

/** More than twice deadlock_timeout: the gate `budget` asks for that. */
export const BUDGET_MS = 3_000;
/** What a client's next try and a busy machine add to a gap. */
const SLACK_MS = 1_500;
const USERS = 500;

interface Truth {
  readonly serving: Side;
  readonly generation: number;
}

interface Answer {
  readonly status: string;
  readonly exit: number | null;
  readonly found: string | null;
}

const SIDE = 'SELECT generation::text, role FROM orchestrator.side';
const ASK = `
  WITH asked AS (
    INSERT INTO orchestrator.request (migration, command, options, epoch, expires_at)
    SELECT migration, $1, $2::jsonb, epoch, clock_timestamp() + interval '30 s' FROM orchestrator.side
    RETURNING id::text)
  SELECT id, pg_notify('orchestrate', 'request') FROM asked`;
const ANSWER = `
  SELECT status, (result->>'exit')::integer AS exit, result->'document'->'error'->>'message' AS found
  FROM orchestrator.request WHERE id = $1`;
const DECIDED = `
  SELECT (extract(epoch FROM decided_at) * 1000)::double precision AS at
  FROM orchestrator.decision WHERE generation = $1`;
/** The lowest id of a key is the mapped one. */
const WRITTEN = `
  SELECT min(id) AS id FROM user_settings WHERE keycloak_user_id <> '' GROUP BY keycloak_user_id ORDER BY 1 LIMIT 160`;

const now = (): number => performance.timeOrigin + performance.now();

export class CrashLane {
  private readonly pair: OwnPair;
  private readonly proxies: Record<Side, Awaited<ReturnType<typeof proxyTo>>>;
  private readonly runner: Supervised;
  private readonly knockers: Knockers;
  private readonly watched: Record<Side, WatchedSide>;

  private constructor(
    pair: OwnPair,
    proxies: Record<Side, Awaited<ReturnType<typeof proxyTo>>>,
    runner: Supervised,
    knockers: Knockers,
  ) {
    this.pair = pair;
    this.proxies = proxies;
    this.runner = runner;
    this.knockers = knockers;
    this.watched = {
      blue: new WatchedSide(pair.blue.urls.superuser),
      green: new WatchedSide(pair.green.urls.superuser),
    };
  }

  /** Starts servers, runner and writers; resolves once a handover can be asked for. */
  static async open(): Promise<CrashLane> {
    const pair = await ownPair();
    await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: USERS, seed: 'sweep' }));
    const proxies = {
      blue: await proxyTo(pair.blue.urls.sync),
      green: await proxyTo(pair.green.urls.sync),
    };
    const j = journey(pair, {
      blue: proxies.blue.url(pair.blue.urls.sync),
      green: proxies.green.url(pair.green.urls.sync),
    });
    const ids = await rows<{ id: number }>(pair.blue.urls.superuser, WRITTEN);
    const knockers = new Knockers(
      pair,
      ids.map((r) => r.id),
      1,
    );
    const lane = new CrashLane(pair, proxies, new Supervised(j), knockers);
    await j.ready();
    knockers.start();
    return lane;
  }

  async end(): Promise<void> {
    await this.knockers.end();
    await this.runner.end();
    await Promise.all([this.watched.blue.end(), this.watched.green.end()]);
    await this.proxies.blue.close();
    await this.proxies.green.close();
    await this.pair.drop();
  }

  /** Waits for one side to serve by both sides' own rows, with no handover under way. */
  settled(): Promise<Truth> {
    return until('one side to serve', () => this.truth(), 60_000);
  }

  private async truth(): Promise<Truth | null> {
    const read = async (side: Side) =>
      (await this.watched[side].rows<{ generation: string; role: string }>(SIDE))[0];
    const [blue, green] = await Promise.all([read('blue'), read('green')]);
    const [run] = await this.watched.green.rows<{ phase: string }>('SELECT phase FROM orchestrator.run');
    if (!blue || !green || blue.generation !== green.generation || blue.role === green.role) return null;
    if (run?.phase !== 'syncing') return null;
    return { serving: blue.role === 'serving' ? 'blue' : 'green', generation: Number(blue.generation) };
  }

  private async ask(kind: HandoverKind): Promise<string> {
    const options = { dryRun: false, rehearse: false, freezeBudgetMs: BUDGET_MS, acceptParked: 'all' };
    const asked = await rows<{ id: string }>(this.pair.green.urls.superuser, ASK, [
      kind,
      JSON.stringify(options),
    ]);
    return asked[0]?.id ?? '';
  }

  private async answer(id: string): Promise<Answer | undefined> {
    return (await this.watched.green.rows<Answer>(ANSWER, [id]))[0];
  }

  private answered(id: string): Promise<Answer> {
    return until(
      `an answer to request ${id}`,
      async () => {
        const found = await this.answer(id).catch(() => undefined);
        return found && found.status !== 'pending' && found.status !== 'claimed' ? found : null;
      },
      60_000,
    );
  }

  /** A handover that nothing disturbs, to be where the next case begins. */
  async plain(kind: HandoverKind, begin?: () => void): Promise<void> {
    await until(
      `${kind} to be done`,
      async () => {
        begin?.();
        const ended = await this.answered(await this.ask(kind));
        if (ended.exit !== 0) process.stderr.write(`undisturbed ${kind}: ${JSON.stringify(ended)}\n`);
        return ended.exit === 0;
      },
      90_000,
    );
    await this.settled();
  }

  /** One undisturbed handover. @returns every failpoint it passed, and how often. */
  async traced(kind: HandoverKind): Promise<Map<string, number>> {
    let from = 0;
    await this.plain(kind, () => {
      from = this.runner.output.length;
      // The count begins anew with every change.
      this.runner.arm(`*:trace:${from}`);
    });
    this.runner.arm('');
    return countHits(this.runner.output.slice(from));
  }

  /** The fault itself. @returns for how long a server was away, in ms. */
  private async inject(fault: CrashCase['fault']): Promise<number> {
    const began = performance.now();
    switch (fault) {
      case 'kill':
        this.runner.kill();
        return 0;
      case 'reset':
        this.proxies.blue.cut();
        this.proxies.green.cut();
        return 0;
      case 'blue':
      case 'green':
        await this.pair.servers[fault].stop('immediate');
    }
    return began;
  }

  /** One case, from its fault to the good state after it. */
  async sweepOne(one: CrashCase): Promise<CrashRow> {
    const { runner, knockers, pair } = this;
    const began = performance.now();
    const wrong: string[] = [];
    const before = await this.settled();
    if (handoverFrom(before.serving) !== one.kind) throw new Error('the wrong side serves');
    knockers.start();
    knockers.take();
    await until('a write before the fault', () => knockers.accepts(before.serving));
    const from = now();
    const restartsBefore = runner.restarts;
    let outputFrom = runner.output.length;
    let away = 0;
    let request = '';

    let [first, ...later] = one.points;
    for (let tries = 1; first; tries++) {
      runner.arm(`${first.name}:hang:${first.nth}`);
      request = await this.ask(one.kind);
      const hit = await runner.reached(first.name, outputFrom, async () => {
        const told = await this.answer(request).catch(() => undefined);
        return told?.status === 'done' || told?.status === 'cancelled';
      });
      if (hit) break;
      // A gate was shut: the runner of a case before has only just begun.
      const said = await this.answer(request);
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
      const stopped = await this.inject(one.fault);
      runner.arm(armed);
      if (one.fault === 'blue' || one.fault === 'green') {
        await pair.servers[one.fault].start();
        away += performance.now() - stopped;
      }
    }
    runner.arm('');

    const ended = await this.answered(request).catch((error: unknown) => {
      wrong.push(String(error));
    });
    const after = await this.settled().catch(() => null);
    if (!after) {
      wrong.push('no good state');
      throw new Error(`${label(one)} ${one.fault}: no good state: ${runner.output.slice(-3_000)}`);
    }
    const decided = after.generation > before.generation;
    if (after.generation > before.generation + 1) wrong.push('more than one handover');
    const sideOk = after.serving === (decided ? otherSide(before.serving) : before.serving);
    if (!sideOk) wrong.push('the rows and the generation disagree');
    if (ended?.exit === 0 && !decided) wrong.push('answered done, but nothing was decided');
    const seen = now();
    await until('writes to come back', () => knockers.acceptedSince(after.serving, seen), 20_000).catch(() =>
      wrong.push('no writes'),
    );
    await knockers.rest();
    const to = now();
    const lost = await knockers.lost(after.serving);
    if (lost.serving.length > 0) wrong.push(`lost on ${after.serving}: ${lost.serving.join(' ')}`);
    if (lost.standby.length > 0) wrong.push(`missing on the standby: ${lost.standby.join(' ')}`);

    const accepted = knockers.take();
    const changes = changesOfSide(accepted, before.serving);
    if (changes > after.generation - before.generation)
      wrong.push(`both sides took writes: ${changes} changes`);
    const decidedAt = decided ? await this.decisionTime(before.serving, after.generation) : to;
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
  }

  private async decisionTime(side: Side, generation: number): Promise<number> {
    const [row] = await this.watched[side].rows<{ at: number }>(DECIDED, [generation]);
    if (!row) throw new Error(`no decision ${generation} on ${side}`);
    return row.at;
  }
}
