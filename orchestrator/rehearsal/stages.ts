import { type ErrorDocument, failure } from '../errors/failure.ts';
import { type HandoverKind, otherSide, type Side } from '../pg/side.ts';
import type { EndDocument, HandoverDocument, StatusDocument } from '../state/documents.ts';
import { checkEnd, refusesWrites } from './check.ts';
import {
  feltFreeze,
  latency,
  percentiles,
  readTimeline,
  type Timeline,
  type Window,
  windowBetween,
} from './ledger/timing.ts';
import { readLedger } from './ledger.ts';
import type { CommandResult } from './program.ts';
import type { FeltFact, HandoverFact } from './report.ts';
import { latencyFact, tenth } from './report-document.ts';
import { residueOf } from './residue.ts';
import type { Scene } from './scene.ts';
import type { JournalLine } from './watch.ts';

/** Copy, build and the first sweep of a rehearsal's size; everything slower is a fault worth looking at. */
const SYNC_MS = 600_000;
const GATES_MS = 60_000;
const END_MS = 30_000;
const PROBE_MS = 15_000;
/** Writes that have to be acknowledged on the new side before a handover counts as over for the clients. */
const SETTLED_WRITES = 50;
const SETTLE_MS = 10_000;

/** Waits until the run is in sync, has proved both sides equal, and has made what the way back needs. */
export async function becomeReady(scene: Scene): Promise<void> {
  const { book, stop, watch } = scene;
  const began = Date.now();
  let seen = 'nothing yet';
  await book.stage(
    'copy, build, sweep',
    () =>
      stop.until(
        'syncing, with a clean sweep and the way back prepared',
        SYNC_MS,
        async () => {
          const now = await watch.sight();
          seen = `${now.phase ?? 'created'}${now.chunks > 0 ? `, ${now.chunksDone}/${now.chunks} chunks` : ''}`;
          book.live(`copy, build, sweep: ${seen}`);
          return now.phase === 'syncing' && now.proved && now.reverse && now;
        },
        () => seen,
      ),
    () => 'in sync, 0 differences, way back prepared',
  );
  const journal = await watch.journal();
  const phases = phasesOf(journal, began);
  const seconds = phases.reduce((sum, p) => sum + p.seconds, 0);
  const rows = book.rows?.users ?? 0;
  // What grows with the rows; preparing does not.
  const moving = phases
    .filter(({ phase }) => phase === 'copying' || phase === 'building')
    .reduce((sum, p) => sum + p.seconds, 0);
  book.copy = {
    seconds,
    until_proved_seconds: (Date.now() - began) / 1_000,
    rows_per_second: seconds > 0 ? Math.round(rows / seconds) : 0,
    phases,
    projection: [1_000_000, 10_000_000, 100_000_000].map((target) => ({
      rows: target,
      seconds: rows > 0 ? seconds - moving + (moving * target) / rows : 0,
    })),
    parked: (await watch.parked()).size,
  };
}

/** Seconds of each phase up to syncing: a state entry of the journal ends one and begins the next. */
function phasesOf(journal: readonly JournalLine[], beganMs: number): { phase: string; seconds: number }[] {
  const phases: { phase: string; seconds: number }[] = [];
  let since = beganMs;
  for (const { at, event, detail } of journal) {
    if (event !== 'state') continue;
    const ends = Date.parse(at);
    phases.push({ phase: String(detail['from']), seconds: Math.max(0, ends - since) / 1_000 });
    since = ends;
    if (detail['to'] === 'syncing') break;
  }
  return phases;
}

/** What Prometheus and Kubernetes would see of the runner now. */
export async function probe({ book, stop, metricsPort }: Scene): Promise<void> {
  const get = async (path: string): Promise<{ status: number; text: string }> => {
    const answer = await fetch(`http://127.0.0.1:${metricsPort}${path}`, { signal: stop.signal });
    return { status: answer.status, text: await answer.text() };
  };
  await book.stage(
    'probes',
    async () => {
      for (const path of ['/healthz', '/readyz']) {
        const { status, text } = await stop.guard(get(path));
        if (status !== 200) book.fail('probes', `${path} says 200`, `${status} ${text.slice(0, 200).trim()}`);
      }
      // What is served is what the runner looked at last, a few seconds ago.
      const syncing = /^orchestrate_phase\{[^}]*phase="syncing"[^}]*\} 1$/m;
      const text = await stop.until(
        'orchestrate_phase{phase="syncing"} 1 on /metrics',
        PROBE_MS,
        async () => {
          const served = await get('/metrics');
          return syncing.test(served.text) && served.text;
        },
        () => 'another value, or none',
      );
      return text.split('\n').filter((line) => line.startsWith('orchestrate_')).length;
    },
    (series) => `healthy, ready, ${series} series of metrics`,
  );
}

/** Asks the program for a dry run until every gate is passed, as an operator would before the day. */
export async function passGates(scene: Scene, kind: HandoverKind = 'cutover'): Promise<void> {
  const { book, stop, program } = scene;
  let closed = 'no answer';
  await book.stage(
    'dry run',
    () =>
      stop.until(
        'a dry run with every gate passed',
        GATES_MS,
        async () => {
          const dry = await program.command<HandoverDocument>(kind, '--dry-run');
          closed =
            dry.document?.gates
              ?.filter((gate) => gate.passed !== true)
              .map((gate) => `${gate.name} (${gate.detail})`)
              .join(', ') ?? `exit ${dry.exit}: ${dry.notes}`;
          return dry.exit === 0 && dry.document?.outcome === 'dry-run' && dry.document;
        },
        () => closed,
      ),
    (document) => `${document.gates?.length ?? 0} gates passed`,
  );
}

/** Lets the application write undisturbed. @returns the writes offered a second. */
export async function soak(scene: Scene, where: string): Promise<number> {
  const { book, stop, workload } = scene;
  let rate = 0;
  await book.stage(
    'soak',
    async () => {
      const from = offeredNow(scene);
      const before = workload.statistics().acknowledged;
      await stop.pass(scene.soakMs);
      rate = offeredSince(scene, from);
      const acknowledged = workload.statistics().acknowledged - before;
      if (acknowledged === 0) book.fail(`soak on ${where}`, 'acknowledged writes', 'none');
      return acknowledged;
    },
    (acknowledged) => `${acknowledged} writes acknowledged on ${where}, ${Math.round(rate)}/s offered`,
  );
  return rate;
}

interface Offered {
  readonly offered: number;
  readonly at: number;
}

const offeredNow = ({ workload }: Scene): Offered => ({
  offered: workload.statistics().offered,
  at: performance.now(),
});

function offeredSince(scene: Scene, from: Offered): number {
  const now = offeredNow(scene);
  return Math.round(((now.offered - from.offered) / (now.at - from.at)) * 10_000) / 10;
}

/** A cutover or revert by the program's own command, and what the clients felt of it. */
export async function handOver(
  scene: Scene,
  name: string,
  from: Side,
  offeredBefore: number,
): Promise<Omit<HandoverFact, 'offered_per_second'> & { readonly offered: [number, number] }> {
  const { book, stop, program, ledger, workload } = scene;
  const kind = from === 'blue' ? 'cutover' : 'revert';
  const to = otherSide(from);
  return book.stage(
    name,
    async () => {
      const offered = offeredNow(scene);
      ledger.mark(`${name}:begin`);
      const ended = await stop.guard(program.command<HandoverDocument>(kind, '--yes'));
      const document = ended.document;
      const done = ended.exit === 0 && document?.outcome === 'done' && document.serving === to;
      if (done) {
        const enough = workload.statistics().acknowledged + SETTLED_WRITES;
        await stop
          .until(
            'writes on the new side',
            SETTLE_MS,
            async () => workload.statistics().acknowledged >= enough,
          )
          .catch((error: unknown) => {
            if (stop.signal.aborted) throw error;
            book.fail(name, `acknowledged writes on ${to}`, 'too few');
          });
      } else {
        book.fail(name, `outcome done, ${to} serves`, saidBy(ended));
      }
      ledger.mark(`${name}:end`);
      const during = offeredSince(scene, offered);
      const timeline = await readTimeline(readLedger(ledger.path));
      const felt = feltIn(timeline, windowBetween(timeline, `${name}:begin`, `${name}:end`));
      const budget = document?.budget_seconds ?? scene.settings.freezeBudgetMs / 1_000;
      if (felt.longest_gap_ms > budget * 1_000)
        book.fail(name, `writes within the budget of ${budget} s`, `${felt.longest_gap_ms} ms without one`);
      return {
        name,
        kind,
        outcome: document?.outcome ?? 'failed',
        exit: ended.exit,
        serving: document?.serving ?? null,
        freeze_seconds: document?.freeze_seconds ?? null,
        budget_seconds: budget,
        felt,
        steps: document?.steps ?? [],
        gates: document?.gates ?? [],
        offered: [offeredBefore, during] as [number, number],
      } as const;
    },
    ({ felt, freeze_seconds: frozen, budget_seconds: budget, serving }) =>
      `writes on ${serving ?? '?'} · no write for ${felt.longest_gap_ms} ms of ${budget} s (frozen ${frozen === null ? '?' : Math.round(frozen * 1_000)} ms) · longest ${felt.longest_wait_ms} ms`,
  );
}

/** The freeze on the clients' side: the longest gap, and how long those waited who stood before it. */
function feltIn(timeline: Timeline, window: Window): FeltFact {
  const felt = feltFreeze(timeline, window);
  const waiting = timeline.waits
    .filter((w) => w.sentMs < felt.gap.toMs && w.acknowledgedMs >= felt.gap.toMs)
    .map((w) => w.acknowledgedMs - w.sentMs);
  return {
    longest_gap_ms: tenth(felt.longestGapMs),
    longest_wait_ms: tenth(felt.longestWaitMs),
    waiting: felt.waiting,
    waiting_ms: latencyFact(percentiles(waiting)),
    latency_ms: latencyFact(latency(timeline, window)),
  };
}

/** Ends the migration with the application still writing, and looks at what is left on both sides. */
export async function finalize(scene: Scene): Promise<void> {
  const { book, stop, program, workload } = scene;
  await scene.sampler.stopSampling();
  await book.stage(
    'finalize',
    async () => {
      const parked = await stop.guard(scene.watch.parked());
      book.guide = (await stop.guard(program.command<StatusDocument>('status'))).document?.guide ?? null;
      const ended = await stop.guard(
        program.command<EndDocument>(
          'finalize',
          '--yes',
          ...(scene.oldAppOnGreen ? ['--keep-compat-view'] : []),
        ),
      );
      const document = ended.document;
      const done = ended.exit === 0 && document?.outcome === 'done';
      if (!done) book.fail('finalize', 'outcome done', saidBy(ended));
      const runExit = done ? await Promise.race([scene.run.ended, stop.pass(END_MS).then(() => null)]) : null;
      if (done && runExit !== 0)
        book.fail('finalize', 'orchestrate run ends by itself with exit 0', `exit ${runExit ?? 'none'}`);
      await stop.guard(workload.stop());
      const residue = await residueOf(scene.pair, scene.oldAppOnGreen);
      if (done && residue.length > 0)
        book.fail('finalize', 'nothing of ours left behind', residue.join(', '));
      const refuses = await refusesWrites(scene, 'blue');
      if (!refuses) book.fail('finalize', "blue's closed fence refuses the application", 'it takes writes');
      await checkEnd(scene, parked);
      book.finalize = {
        outcome: document?.outcome ?? 'failed',
        exit: ended.exit,
        run_exit: runExit,
        left: document?.left ?? [],
        residue,
        blue_refuses_writes: refuses,
      };
      return residue.length;
    },
    (left) => `green serves alone, blue refuses writes, ${left} things left behind`,
  );
}

/** How a command that did not do what it was asked for ended, in one line. */
export function saidBy(ended: CommandResult<{ outcome?: string; error?: ErrorDocument }>): string {
  const { document, exit, notes } = ended;
  const why = document?.error ? `${document.error.code}: ${document.error.message}` : notes;
  return `exit ${exit}, ${document?.outcome ?? 'no outcome'}, ${why.split('\n').slice(-5).join(' | ')}`;
}

/** The program must not end while it is rehearsed: what it said last is told. */
export function watchOver(scene: Pick<Scene, 'run' | 'stop' | 'restarting'>): void {
  const { run } = scene;
  void run.ended.then((exit) => {
    if (exit === 0 || scene.restarting) return;
    scene.stop.now(
      failure('INTERNAL', {
        message: `orchestrate run ended with exit ${exit}`,
        expected: 'a runner that works until the migration has ended',
        found: run.log().split('\n').slice(-3).join(' | '),
      }),
    );
  });
}
