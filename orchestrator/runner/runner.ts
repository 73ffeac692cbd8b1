import { setTimeout as delay } from 'node:timers/promises';
import type { Settings } from '../config/settings.ts';
import { asFailure } from '../errors/as-failure.ts';
import { connectionFailure } from '../errors/connection.ts';
import { failure, hasCode, OrchestrateError } from '../errors/failure.ts';
import { isTransient } from '../errors/sqlstate.ts';
import type { Log } from '../log/log.ts';
import type { Metrics } from '../metrics/metrics.ts';
import { label } from '../pg/endpoint.ts';
import { endpointsOf } from '../pg/endpoints.ts';
import { otherSide, type Side } from '../pg/side.ts';
import { mustBeOurs } from '../phases/control.ts';
import { ensureControl } from '../phases/prepare.ts';
import type { Context } from '../state/context.ts';
import type { State, Unmoved } from '../state/state.ts';
import { changeState, readSide, readState, setStopped } from '../state/store.ts';
import { prepareReverse } from '../stream/reverse-setup.ts';
import type { OpenSlot } from '../stream/slot.ts';
import { advance, type Beginning, mustPass } from './advance.ts';
import { answer } from './answer.ts';
import { type Control, openControl } from './control.ts';
import { EndingSignal } from './ending-signal.ts';
import { Inbox } from './inbox.ts';
import { type Judgement, judge } from './judge.ts';
import { Lease } from './lease.ts';
import { Observer } from './observe.ts';
import { recover } from './recover.ts';
import type { ClaimedRequest } from './requests.ts';
import { settle } from './settle.ts';
import { retryTraffic } from './settle-traffic.ts';
import { Sweeps } from './sweeps.ts';
import { Sync } from './sync.ts';

export interface RunnerOptions {
  readonly settings: Settings;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly signal: AbortSignal;
  /** Wait for a free lease instead of failing. */
  readonly wait: boolean;
  /**
   * Whether this runner may start what takes long and changes production: prepare and copy. One that lives inside a
   * command may not.
   */
  readonly mayCopy: boolean;
}

const JUDGE_EVERY_MS = 10_000;
const MOVE_EVERY_MS = 5_000;

/** The one process that holds the lease and does the work (DESIGN 4): it brings the run forward from what it finds. */
export class Runner {
  readonly settings: Settings;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly control: Control;
  readonly lease: Lease;
  readonly inbox: Inbox;
  readonly sweeps = new Sweeps(this);
  /** Whether it stays: one that lives inside a command starts nothing that takes long, and nobody follows it. */
  readonly mayCopy: boolean;
  /** Ends everything. */
  readonly ending: EndingSignal;
  /** Ends the phase at hand only: an abort request has arrived. */
  private phaseWork = new AbortController();
  private readonly observer: Observer;
  private syncing: Sync | undefined;
  /** The slot that prepare made, whose snapshot the copy reads. */
  heldSlot: OpenSlot | undefined;
  private judgedAt = 0;
  private movingAt = 0;
  /** The gates as they were judged last, while nothing else was to be done. */
  judged: Judgement | undefined;
  paused = false;
  controlGone = false;

  private constructor(options: RunnerOptions, control: Control, lease: Lease, ending: EndingSignal) {
    this.settings = options.settings;
    this.log = options.log;
    this.metrics = options.metrics;
    this.mayCopy = options.mayCopy;
    this.control = control;
    this.lease = lease;
    this.ending = ending;
    this.inbox = new Inbox(
      control.ctx.endpoints.green,
      control.ctx.names.migration,
      { first: lease.epoch, now: () => lease.epoch },
      (request) => {
        if (request.command === 'abort')
          this.phaseWork.abort(failure('INTERRUPTED', { message: 'abort was asked for' }));
        this.sweeps.makeWay();
        if (request.command === 'pause') this.paused = true;
        if (request.command === 'resume') this.paused = false;
        this.wake();
      },
    );
    this.observer = new Observer(this);
    lease.signal.addEventListener('abort', () => ending.abort(lease.signal.reason), { once: true });
  }

  get ctx(): Context {
    return this.control.ctx;
  }

  get sync(): Sync | undefined {
    return this.syncing;
  }

  /**
   * Checks, makes the control schemas where there are none, takes the lease and settles what a dead runner left.
   * @throws OrchestrateError PREFLIGHT_FAILED, LEASE_HELD, CANNOT_CONNECT, WRONG_PHASE; nothing is changed then.
   */
  static async open(options: RunnerOptions): Promise<Runner> {
    const { settings, log, metrics } = options;
    const ending = new EndingSignal(options.signal);
    const endpoints = endpointsOf(settings);
    const control = await openControl({
      migration: settings.migration,
      schemas: settings.schemas,
      endpoints,
      log,
      metrics,
      signal: ending.signal,
    });
    try {
      const rows = {
        blue: await readSide(control.clients.blue, settings.migration),
        green: await readSide(control.clients.green, settings.migration),
      };
      if (!rows.blue || !rows.green) {
        if (!options.mayCopy)
          throw failure('WRONG_PHASE', {
            expected: 'a migration that has been started',
            found: 'none',
            fix: 'orchestrate run',
          });
        await mustPass(control.ctx, settings);
        await ensureControl(control.ctx);
      } else await mustBeOurs(control.clients);
      const lease = await Lease.acquire(control.ctx.names, endpoints, options.wait, ending.signal);
      const runner = new Runner(options, control, lease, ending);
      try {
        await settle(runner);
      } catch (error) {
        await runner.close();
        throw error;
      }
      return runner;
    } catch (error) {
      await control.close();
      throw error;
    }
  }

  /**
   * Brings the run forward until it has ended or is told to end.
   * @returns the exit code: 0 when the migration is finalized or aborted.
   * @throws OrchestrateError for a stop, a lost lease and signals.
   */
  async follow(): Promise<number> {
    try {
      for (;;) {
        if (this.ending.signal.aborted) throw this.ending.signal.reason as Error;
        if (this.controlGone) return 0;
        const ended = await this.step();
        if (ended) return 0;
      }
    } catch (error) {
      const reason = this.reasonFor(error);
      if (reason.entry.exit === 1) await this.stopped(reason);
      throw reason;
    }
  }

  /** Carries out what the request needs and nothing more: the runner of a single command. */
  async serve(request: ClaimedRequest): Promise<{ exit: number; document: object }> {
    try {
      const { state } = await this.state();
      if (state.phase === 'syncing') await this.ensureSync(state.serving);
      return await answer(this, request);
    } catch (error) {
      throw this.reasonFor(error);
    }
  }

  async close(): Promise<void> {
    await this.observer.close();
    await this.inbox.close();
    // Whoever comes next takes the next epoch.
    await this.syncing?.giveUp();
    await this.endSync();
    if (!this.controlGone) await this.ctx.journal('runner', { started: false }).catch(() => {});
    await this.lease.release(this.controlGone);
    await this.control.close();
  }

  state(): ReturnType<typeof readState> {
    return readState(this.control.clients.green, this.ctx.names.migration);
  }

  /** One move of the state machine. @returns whether the run has ended. */
  private async step(): Promise<boolean> {
    const { state } = await this.state();
    switch (state.phase) {
      case 'created':
      case 'prepared':
      case 'copying':
      case 'building':
        await this.forwardWork(state);
        return false;
      case 'syncing':
        await this.ensureSync(state.serving);
        await this.nextDuty(state);
        return false;
      case 'handing-over':
        await settle(this);
        return false;
      case 'aborting':
        await this.answerNext({ id: '0', command: 'abort', options: {} });
        return false;
      case 'finalized':
      case 'aborted':
        return true;
    }
  }

  /** Prepare, copy and build: long work that an abort request may interrupt at any time. */
  private async forwardWork(state: Beginning): Promise<void> {
    if (!this.mayCopy)
      throw failure('WRONG_PHASE', { expected: 'syncing', found: state.phase, fix: 'orchestrate run' });
    this.phaseWork = new AbortController();
    const signal = AbortSignal.any([this.ending.signal, this.phaseWork.signal]);
    const ctx: Context = { ...this.ctx, signal };
    const refusing = this.refuseMeanwhile(signal);
    try {
      if (this.inbox.size === 0) await advance(this, ctx, state);
    } catch (error) {
      if (!this.phaseWork.signal.aborted || this.ending.signal.aborted) throw error;
    } finally {
      this.phaseWork.abort();
      await refusing;
    }
    const request = this.inbox.next();
    if (request) await this.answerNext(request);
  }

  /** While long work goes on: commands that have no meaning now are told so at once, the others wait for their turn. */
  private async refuseMeanwhile(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await delay(200, undefined, { signal }).catch(() => {});
      const request = this.inbox.size > 0 && !signal.aborted ? this.inbox.next() : undefined;
      if (request) await this.answerNext(request);
    }
  }

  /** In syncing: a request, a due sweep, or waiting for one of them. */
  private async nextDuty(state: Extract<State, { phase: 'syncing' }>): Promise<void> {
    const request = this.inbox.next();
    if (request) return this.answerNext(request);
    if (state.unmoved && Date.now() - this.movingAt >= MOVE_EVERY_MS) {
      this.movingAt = Date.now();
      await retryTraffic(this, state.unmoved);
    }
    if (!this.mayCopy) return this.sleep(1_000);
    if (!this.paused && this.sweeps.due) {
      const result = await this.sweeps.scheduled();
      if (result?.clean && state.serving === 'blue') await this.armReverse();
    }
    if (Date.now() - this.judgedAt >= JUDGE_EVERY_MS) {
      this.judgedAt = Date.now();
      // For status and metrics only: what an operator would be told now.
      this.judged = await judge(this).catch(() => undefined);
    }
    await this.sleep(1_000);
  }

  /** Makes, once, what the way back needs on green, and then keeps its slot from retaining WAL. */
  async armReverse(): Promise<void> {
    await prepareReverse(this.ctx);
    this.syncing?.keepRetention();
  }

  /** Ends the stream at hand, for good or before another one starts. @throws the reason of `patience`. */
  async endSync(patience?: AbortSignal): Promise<void> {
    await this.syncing?.stop(patience).catch(() => {});
    patience?.throwIfAborted();
    this.syncing = undefined;
    await this.heldSlot?.release().catch(() => {});
    this.heldSlot = undefined;
  }

  /** Ends the stream at hand and starts the one that leaves `serving`. */
  async restartSync(serving: Side): Promise<Sync> {
    await this.endSync();
    return this.ensureSync(serving);
  }

  private async ensureSync(serving: Side): Promise<Sync> {
    if (this.syncing?.serving === serving) return this.syncing;
    await this.syncing?.stop();
    this.syncing = await Sync.start(this.ctx, serving, { truncate: this.settings.truncate }, (error) => {
      this.ending.abort(error);
      this.wake();
    });
    const { rowCount } = await this.control.clients[serving].query(
      'SELECT FROM orchestrator.progress WHERE slot = $1',
      [this.ctx.names.slot[otherSide(serving)]],
    );
    if (rowCount === 1) this.syncing.keepRetention();
    return this.syncing;
  }

  /** @param unmoved clients that still have to be brought to the side that serves. */
  async becomeSyncing(
    serving: Side,
    evidence: Readonly<Record<string, unknown>>,
    unmoved?: Unmoved,
  ): Promise<void> {
    const { state } = await this.state();
    const madeOrgTables = 'madeOrgTables' in state ? state.madeOrgTables : false;
    if (state.phase === 'syncing')
      await changeState(this.control.clients.green, this.ctx.claim(), {
        phase: 'handing-over',
        madeOrgTables,
        serving: otherSide(serving),
        kind: serving === 'green' ? 'cutover' : 'revert',
        attempt: '',
      });
    await changeState(
      this.control.clients.green,
      this.ctx.claim(),
      { phase: 'syncing', madeOrgTables, serving, ...(unmoved ? { unmoved } : {}) },
      evidence,
    );
    this.sweeps.wait();
  }

  /**
   * After a statement whose outcome is unknown, or an attempt that failed: the next epoch on both sides first, so that
   * nothing of the old one can land, then the truth (HISTORIES 9 to 12).
   */
  async takeStock(): Promise<Awaited<ReturnType<typeof recover>>> {
    for (let attempt = 0; ; attempt++) {
      try {
        this.control.setClaim({ epoch: await this.lease.advance(this.ctx.endpoints) });
        return await recover(this.ctx, this.control.clients, (generation) =>
          this.control.setClaim({ generation }),
        );
      } catch (error) {
        if (this.ending.signal.aborted || !isTransient(error) || attempt >= 50) throw error;
        await delay(100);
      }
    }
  }

  private async answerNext(request: ClaimedRequest): Promise<void> {
    await answer(this, request);
  }

  private wake: () => void = () => {};

  private async sleep(ms: number): Promise<void> {
    if (this.inbox.size > 0 || this.ending.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.ending.signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.wake = done;
      this.ending.signal.addEventListener('abort', done, { once: true });
    });
  }

  /** The error that explains why the runner ends: a lost lease or a signal explains every error that follows it. */
  private reasonFor(error: unknown): OrchestrateError {
    const first: unknown = this.ending.signal.aborted ? this.ending.signal.reason : error;
    if (first instanceof OrchestrateError) return first;
    if (isTransient(first)) return connectionFailure('green', label(this.ctx.endpoints.green), first);
    return asFailure(first);
  }

  private async stopped(reason: OrchestrateError): Promise<void> {
    if (hasCode(reason, 'STALE_EPOCH') || this.controlGone) return;
    await setStopped(this.control.clients.green, this.ctx.claim(), reason.toDocument()).catch(() => {});
    await this.ctx.journal('stopped', { code: reason.code }).catch(() => {});
  }
}
