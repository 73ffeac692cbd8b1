/** `orchestrate run` as a supervisor keeps it: started again whenever it ends, and armed through a file while it runs. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Journey, Running } from './journey.ts';
import { until } from './until.ts';

export class Supervised {
  private readonly journey: Journey;
  private readonly directory = mkdtempSync(join(tmpdir(), 'orchestrate-crash-'));
  private readonly work: Promise<void>;
  private current: Running | undefined;
  private stopping = false;
  private past = '';
  /** How often it has ended and was started again. */
  restarts = 0;

  constructor(journey: Journey) {
    this.journey = journey;
    this.arm('');
    this.work = this.supervise();
  }

  get process(): Running {
    if (!this.current) throw new Error('not started');
    return this.current;
  }

  /** Everything that was printed so far, by all processes. */
  get output(): string {
    return this.past + (this.current?.stderr() ?? '');
  }

  /** Replaces what is armed; ends a `hang` of before. In one move: half a file would disarm it. */
  arm(points: string): void {
    const next = join(this.directory, 'next');
    writeFileSync(next, points);
    renameSync(next, join(this.directory, 'armed'));
  }

  /** @returns false when the failpoint was not passed before `over` says that it will not be. */
  async reached(name: string, from: number, over: () => Promise<boolean>): Promise<boolean> {
    const hit = () => this.output.includes(`failpoint ${name} `, from);
    await until(`failpoint ${name}`, async () => hit() || (await over()), 60_000);
    return hit();
  }

  kill(): void {
    this.current?.kill('SIGKILL');
  }

  async end(): Promise<void> {
    this.stopping = true;
    this.arm('');
    this.current?.kill('SIGTERM');
    const last = setTimeout(() => this.kill(), 10_000);
    await this.work;
    clearTimeout(last);
    rmSync(this.directory, { recursive: true, force: true });
  }

  private async supervise(): Promise<void> {
    while (!this.stopping) {
      this.current = this.journey.run({
        ORCHESTRATE_TEST: '1',
        ORCHESTRATE_FAILPOINT: `@${join(this.directory, 'armed')}`,
      });
      const { stderr } = await this.current.ended;
      this.past += stderr;
      this.current = undefined;
      if (this.stopping) return;
      this.restarts += 1;
      await delay(100);
    }
  }
}
