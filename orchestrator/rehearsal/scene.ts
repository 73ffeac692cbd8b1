import type { Settings } from '../config/settings.ts';
import type { Side } from '../pg/side.ts';
import type { Book } from './book.ts';
import type { Pair } from './embedded-pair.ts';
import type { Fault } from './fault.ts';
import type { Ledger } from './ledger.ts';
import type { Program, RunningProgram } from './program.ts';
import type { Stop } from './stop.ts';
import type { Watch } from './watch.ts';
import type { Workload } from './workload.ts';

/** Called with the writers at rest and both sides drained, before anything is checked. Tests plant faults here. */
export type BeforeCheck = (at: {
  readonly after: string;
  readonly serving: Side;
  readonly urls: Pair['urls'];
}) => Promise<void>;

/** All that a stage of the rehearsal works with. */
export interface Scene {
  readonly settings: Settings;
  readonly soakMs: number;
  /** The old application's statements go on where green serves, through the compatibility view. */
  readonly oldAppOnGreen: boolean;
  /** What the clients of a pooler are told; it alone knows when they are let through. */
  readonly told: { serving: Side };
  /** Whether no statement may fail: a pooler lets clients wait instead. */
  readonly pooled: boolean;
  /** On given databases, where the way ends with blue. */
  readonly staging: boolean;
  /** Where the runner serves /metrics and /readyz, on loopback. */
  readonly metricsPort: number;
  readonly pair: Pair;
  readonly program: Program;
  /** The runner at work; another one after a fault that ends it. */
  run: RunningProgram;
  /** What is done to the program before each handover. */
  readonly fault: Fault;
  /** While such a fault is at work, the end of the runner is no surprise. */
  restarting: boolean;
  readonly watch: Watch;
  /** Sessions of its own: it looks once a second, whatever the stages do. */
  readonly sampler: Watch;
  readonly ledger: Ledger;
  readonly workload: Workload;
  readonly book: Book;
  readonly stop: Stop;
  readonly beforeCheck: BeforeCheck | undefined;
}
