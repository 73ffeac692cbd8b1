import { join } from 'node:path';
import type { Settings } from '../config/settings.ts';
import { asFailure } from '../errors/as-failure.ts';
import { failure, type OrchestrateError } from '../errors/failure.ts';
import type { Log } from '../log/log.ts';
import { scrub } from '../log/redact.ts';
import { endpointsOf } from '../pg/endpoints.ts';
import { otherSide, type Side } from '../pg/side.ts';
import { watchAlerts } from './alerts.ts';
import { Book } from './book.ts';
import { check } from './check.ts';
import { acceptedParked, environmentOf, type Scale } from './configuration.ts';
import { freePort } from './embedded/port.ts';
import { openEmbeddedPair, type Pair } from './embedded-pair.ts';
import { disturb, type Fault } from './fault.ts';
import { loadUsers, withTextSession } from './generator.ts';
import { chartOf } from './ledger/series.ts';
import { readTimeline, servingChanges } from './ledger/timing.ts';
import { Ledger, readLedger } from './ledger.ts';
import { findOnPath, startPooler } from './pooler.ts';
import { refuseProduction, refuseProductionDatabases } from './production.ts';
import { ownProgram, Program } from './program.ts';
import type { IterationFact, RehearsalReport } from './report.ts';
import { HANDOVERS, HANDOVERS_AND_BACK, iterationOf, reportOf, workloadFact } from './report-document.ts';
import { writeReport } from './report-files.ts';
import type { BeforeCheck, Scene } from './scene.ts';
import { createSourceTable } from './source-table.ts';
import { becomeReady, finalize, handOver, passGates, probe, soak, watchOver } from './stages.ts';
import { restore } from './staging/restore.ts';
import { finalizeOnBlue } from './staging/staging-end.ts';
import { type AppUrlFiles, openStagingPair, type StagingPair } from './staging/staging-pair.ts';
import { Stop } from './stop.ts';
import { Watch } from './watch.ts';
import { startWorkload } from './workload.ts';

export type { RehearsalReport } from './report.ts';

export interface RehearseOptions extends Scale {
  /** Asked for by name; it is the default where no URLs were given. */
  readonly embedded: boolean;
  readonly reportDirectory: string;
  /** Ends the rehearsal; everything is taken away first. */
  readonly signal: AbortSignal;
  readonly note: (line: string) => void;
  /** Replaces the transient last line of a terminal; absent where there is none. */
  readonly live?: ((line: string) => void) | undefined;
  /** The program that is rehearsed; default: this package's own, as it is built. */
  readonly program?: string;
  readonly beforeCheck?: BeforeCheck;
  /** Rounds of the whole journey; 1 unless given. The first that does not pass is the last. */
  readonly iterations?: number;
  /** Done to the program before each handover; nothing unless given. */
  readonly fault?: Fault;
  /** On given databases: files with the application's own URLs. */
  readonly appUrlFiles?: AppUrlFiles;
}

type Round = RehearseOptions & { readonly pgbouncer: string | undefined };

const MAJORS = { blue: 15, green: 18 } as const;
const CLIENTS = 8;
/** A little more than was asked for: a window of the report may begin just after a write was due. */
const RATE_MARGIN = 1.02;

/**
 * The whole migration on two servers of its own, with an application that keeps writing (OPERATIONS 6): copy, sync,
 * proof, cutover, revert, cutover, finalize, and an independent proof after each handover.
 *
 * @returns exit 0 only if everything held, 3 where it did not, 1 where the program or a server failed, 130 or 143
 *   after a signal. The report is also in `reportDirectory`.
 * @throws OrchestrateError CONFIG_INVALID or REHEARSAL_REFUSED, before anything is started.
 */
export async function rehearse(
  settings: Settings,
  options: RehearseOptions,
  log: Log,
): Promise<{ exit: number; report: RehearsalReport }> {
  refuseProduction(settings);
  const pgbouncer = settings.traffic.driver === 'pgbouncer' ? poolerProgram(options) : undefined;
  const embedded = options.embedded || (settings.urls.blue === null && settings.urls.green === null);
  if (!embedded) await refuseUrls(settings, options);
  const round = { ...options, pgbouncer, embedded };
  const iterations: IterationFact[] = [];
  for (let n = 1; ; n += 1) {
    if (n > 1) options.note(`round ${n} of ${options.iterations ?? 1}`);
    const { exit, report, pair } = await rehearseOnce(settings, round, n, log);
    iterations.push(iterationOf(report, n));
    const whole = { ...report, iterations };
    try {
      await writeReport(options.reportDirectory, whole, pair).catch((error: NodeJS.ErrnoException) => {
        throw failure('CANNOT_WRITE', {
          message: 'the report of the rehearsal could not be written',
          expected: `a directory with room at ${options.reportDirectory}`,
          found: `${error.code ?? error.name}; the rehearsal itself ${report.verdict}`,
          fix: 'make room, or name another place with --report; then the same command again',
          cause: error,
        });
      });
    } finally {
      await pair?.close();
    }
    if (exit !== 0 || n >= (options.iterations ?? 1)) return { exit, report: whole };
  }
}

/** @returns the report, and the pair that the caller has to close. */
async function rehearseOnce(
  settings: Settings,
  options: Round,
  round: number,
  log: Log,
): Promise<{ exit: number; report: RehearsalReport; pair: Pair | undefined }> {
  const startedAt = new Date();
  const began = performance.now();
  const book = new Book(options);
  const stop = new Stop(options.signal);
  let pair: Pair | undefined;
  let error: OrchestrateError | undefined;
  try {
    const staging = options.embedded ? undefined : await openGiven(settings, options, book);
    pair = staging ?? (await openOwn(book));
    book.servers = pair.versions;
    const seed = options.embedded ? options.seed : `${options.seed}/${round}/staging`;
    await perform(settings, { ...options, seed }, { pair, staging }, book, stop, began, log);
  } catch (thrown) {
    error = asFailure(thrown);
    log.error({ code: error.code }, 'the rehearsal has stopped');
  }
  const report = reportOf(settings, options, book, { startedAt, began }, error);
  return { exit: report.exit, report, pair };
}

const openOwn = (book: Book): Promise<Pair> =>
  book.stage(
    'servers',
    () => openEmbeddedPair(MAJORS),
    ({ versions }) => `PostgreSQL ${versions.blue} and ${versions.green}, three roles each`,
  );

const openGiven = (settings: Settings, options: Round, book: Book): Promise<StagingPair> =>
  book.stage(
    'databases',
    () => openStagingPair(settings, options.appUrlFiles ?? {}),
    ({ versions, before }) =>
      `PostgreSQL ${versions.blue} and ${versions.green}, ${before.blue.size + before.green.size} facts kept for the end`,
  );

async function refuseUrls(settings: Settings, options: RehearseOptions): Promise<void> {
  const refuse = (message: string, expected: string, fix: string): never => {
    throw failure('CONFIG_INVALID', { message, expected, found: 'URLs of databases', fix });
  };
  if (options.oldAppOnGreen === true || settings.traffic.driver !== 'none' || settings.compatView)
    refuse(
      'that can only be rehearsed on servers of its own',
      '--traffic none, without --old-app-on-green and --compat-view',
      'orchestrate rehearse --embedded …',
    );
  if (settings.schemas.source !== 'public' || settings.schemas.org !== 'public')
    refuse(
      'other schemas cannot be rehearsed',
      '--source-schema public --org-schema public',
      'leave them out',
    );
  endpointsOf(settings);
  await refuseProductionDatabases(settings);
}

/** The rehearsal itself; its children and sessions have ended when it returns, whichever way. */
async function perform(
  settings: Settings,
  options: Round,
  { pair, staging }: { readonly pair: Pair; readonly staging: StagingPair | undefined },
  book: Book,
  stop: Stop,
  began: number,
  log: Log,
): Promise<void> {
  const ending: (() => Promise<unknown>)[] = [];
  let program: Program | undefined;
  const made = { lastId: 0 };
  const ledgerFile = join(pair.directory, 'ledger.jsonl');
  try {
    const metricsPort = await freePort();
    const oldAppOnGreen = options.oldAppOnGreen === true;
    const urls = { blue: pair.urls.blue.app, green: pair.urls.green.app };
    const pooler =
      options.pgbouncer === undefined
        ? undefined
        : await startPooler({ program: options.pgbouncer, urls, mode: 'transaction' });
    if (pooler !== undefined) ending.push(() => pooler.stop());
    const environment = {
      ...environmentOf(settings, pair.urlFiles, metricsPort),
      ...(oldAppOnGreen ? { ORCHESTRATE_COMPAT_VIEW: 'true' } : {}),
      ...(pooler === undefined
        ? {}
        : {
            ORCHESTRATE_TRAFFIC: 'pgbouncer',
            ORCHESTRATE_PGBOUNCER_CONSOLES: pooler.console,
            ORCHESTRATE_PGBOUNCER_DATABASE: pooler.database,
            ORCHESTRATE_PGBOUNCER_INCLUDE: pooler.include,
          }),
    };
    const told: { serving: Side } = { serving: 'blue' };
    const driven = new Program(options.program ?? ownProgram(), environment, pair.directory);
    program = driven;
    ending.push(() => driven.stop());
    book.version = await stop.guard(driven.version());
    await book.stage(
      'rows',
      () => makeRows(options, pair, staging, made, book, stop),
      (rows) => `${rows} rows of user_settings${staging === undefined ? '' : ' of its own'}`,
    );

    const ledger = new Ledger(ledgerFile);
    ending.push(async () => ledger.close());
    const workload = await startWorkload({
      databases: pooler === undefined ? urls : { blue: pooler.url, green: pooler.url },
      ...(pooler === undefined ? {} : { target: () => told.serving }),
      // The view does not show users without a key of their own.
      ...(staging === undefined ? {} : { firstUser: staging.highestId + 1 }),
      ...(oldAppOnGreen ? { schemas: { green: 'old' as const }, odd: 0 } : {}),
      ledger,
      clients: CLIENTS,
      rate: options.rate * RATE_MARGIN,
      seed: options.seed,
    });
    ending.push(async () => {
      book.workload = await workloadFact(await workload.stop(), CLIENTS, ledger);
      // The ledger's clock is the same with another origin.
      const origin = Number(process.hrtime.bigint()) / 1e6 - performance.now() + began;
      book.chart = chartOf(await readTimeline(readLedger(ledger.path)), origin);
    });
    const watch = await Watch.open(pair, began);
    ending.push(() => watch.close());
    const sampler = await Watch.open(pair, began);
    ending.push(async () => {
      await sampler.close();
      book.lag = sampler.samples;
    });

    const run = driven.run();
    pair.guard(run.pid);
    const alerts = watchAlerts(metricsPort);
    ending.push(async () => {
      await alerts.stop();
      book.alerts = alerts.watch.facts();
    });
    const scene: Scene = {
      settings: { ...settings, acceptParked: acceptedParked(settings) },
      soakMs: options.soakMs,
      oldAppOnGreen,
      told,
      pooled: pooler !== undefined,
      metricsPort,
      pair,
      program: driven,
      run,
      fault: options.fault ?? 'none',
      restarting: false,
      staging: staging !== undefined,
      watch,
      sampler,
      ledger,
      workload,
      book,
      stop,
      beforeCheck: options.beforeCheck,
    };
    watchOver(scene);
    await journey(scene);
  } finally {
    // The other way round: what was opened last is closed first.
    for (const end of ending.reverse())
      await end().catch((error: unknown) => log.warn({ error: scrub(String(error)) }, 'cleaning up'));
    // Whatever happened, and without asking whether it was stopped: what is not ours goes back as it was.
    if (staging !== undefined)
      await restore(settings, staging, program, book, {
        ledger: ledgerFile,
        ownTo: made.lastId,
      });
  }
}

/** Copy → sync → sweep → cutover → soak → revert → soak → cutover → soak → finalize, with a proof after each handover. */
async function journey(scene: Scene): Promise<void> {
  const { book, sampler } = scene;
  await becomeReady(scene);
  let serving: Side = 'blue';
  sampler.sample(() => serving);
  await probe(scene);
  await passGates(scene);
  let rate = await soak(scene, serving);
  for (const name of scene.staging ? HANDOVERS_AND_BACK : HANDOVERS) {
    await disturb(scene, serving);
    const { offered, ...handover } = await handOver(scene, name, serving, rate);
    const switched = handover.outcome === 'done';
    if (switched) serving = otherSide(serving);
    scene.told.serving = serving;
    rate = switched ? await soak(scene, serving) : 0;
    book.handovers.push({
      ...handover,
      offered_per_second: { before: offered[0], during: offered[1], after: switched ? rate : null },
    });
    await check(scene, name, serving, true);
    if (!switched) return;
  }
  await (scene.staging ? finalizeOnBlue(scene) : finalize(scene));
  noneFailed(scene);
  const timeline = await readTimeline(readLedger(scene.ledger.path));
  const changes = servingChanges(timeline);
  book.servingChanges = { proved: changes, handovers: book.handovers.length };
  if (changes > book.handovers.length)
    book.fail('one writer', `at most ${book.handovers.length} changes of the serving side`, `${changes}`);
}

/** Behind a pooler clients wait: not one statement may be refused, given up, or left without an answer. */
function noneFailed({ pooled, workload, book }: Scene): void {
  if (!pooled) return;
  const { refused, abandoned, unknown } = workload.statistics();
  if (refused + abandoned + unknown > 0)
    book.fail(
      'traffic',
      'not one failed statement behind pgbouncer',
      `${refused} refused, ${abandoned} given up, ${unknown} without an answer`,
    );
}

/** @returns where pgbouncer is. @throws OrchestrateError CONFIG_INVALID */
function poolerProgram(options: RehearseOptions): string {
  if (options.oldAppOnGreen !== true)
    throw failure('CONFIG_INVALID', {
      message: '--traffic pgbouncer cannot be rehearsed alone',
      expected: '--old-app-on-green with it: clients behind one address do not know which schema they meet',
      found: 'none',
      fix: 'orchestrate rehearse --old-app-on-green --traffic pgbouncer',
    });
  const program = findOnPath('pgbouncer');
  if (program === undefined)
    throw failure('REHEARSAL_REFUSED', {
      message: 'pgbouncer is not installed',
      expected: 'pgbouncer on PATH, or in /usr/sbin',
      found: 'none',
      fix: 'apt-get install pgbouncer',
    });
  return program;
}

async function makeRows(
  options: RehearseOptions,
  pair: Pair,
  staging: StagingPair | undefined,
  made: { lastId: number },
  book: Book,
  stop: Stop,
): Promise<number> {
  const { owner } = pair.urls.blue;
  if (staging === undefined) await stop.guard(withTextSession(owner, 'table', 'public', createSourceTable));
  const loading = loadUsers(owner, {
    users: options.users,
    seed: options.seed,
    ...(staging === undefined ? {} : { firstId: staging.highestId + 1 }),
  });
  // In a given database it is waited for even when the rehearsal is stopped: what has been made is to be taken away.
  const loaded = await (staging === undefined ? stop.guard(loading) : loading);
  made.lastId = loaded.lastId;
  book.rows = { users: loaded.rows + (staging?.rows ?? 0), generate_seconds: loaded.seconds };
  return loaded.rows;
}
