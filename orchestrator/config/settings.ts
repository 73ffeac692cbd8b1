import type { Secret } from './secret.ts';
import type { OptionName } from './tree.ts';

/** Where a value came from; the first one in this order that has it wins. */
export type Origin = 'flag' | 'environment' | 'file' | 'default';

/** A connection URL, or the file to read it from: anew at every connect, so that a rotated password is picked up. */
export type UrlSource =
  | { readonly kind: 'url'; readonly url: Secret }
  | { readonly kind: 'file'; readonly path: string };

/** Everything a run can be told, typed, with units in the names. Says nothing about who asked: see `origins`. */
export interface Settings {
  readonly migration: string;
  readonly urls: { readonly blue: UrlSource | null; readonly green: UrlSource | null };
  readonly schemas: { readonly source: string; readonly org: string };
  readonly environment: string | null;
  readonly reason: string | null;

  readonly freezeBudgetMs: number;
  readonly maxLagBytes: bigint;
  readonly maxSweepAgeMs: number;
  readonly acceptParked: number | 'all';
  readonly timeoutMs: number;

  readonly sweepIntervalMs: number;
  /** Of scheduled sweeps only; null: unlimited. */
  readonly maxSweepRowsPerSecond: number | null;
  readonly copyWorkers: number;
  /** null: unlimited. */
  readonly maxCopyBytesPerSecond: number | null;
  /** What the copy waits for on blue; null is no limit. */
  readonly copyPause: {
    readonly transactionAgeMs: number | null;
    readonly retainedWalBytes: bigint | null;
    readonly replicaLagBytes: bigint | null;
  };
  readonly truncate: 'apply' | 'refuse';
  readonly backupConfirmed: boolean;
  readonly compatView: boolean;
  /** null: no listener. */
  readonly metricsListen: { readonly host: string; readonly port: number } | null;

  readonly traffic: Traffic;

  readonly output: 'table' | 'json';
  readonly logFormat: 'text' | 'json';
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error';

  readonly origins: Readonly<Record<OptionName, Origin>>;
  /** Every option that is set, as it would be typed; secrets as `***`. */
  readonly shown: Readonly<Partial<Record<OptionName, string>>>;
}

export type Traffic =
  | { readonly driver: 'none' }
  | { readonly driver: 'command'; readonly command: string }
  | {
      readonly driver: 'pgbouncer';
      readonly consoles: readonly Secret[];
      readonly database: string;
      /** One for all instances, or one for each. */
      readonly includes: readonly string[];
    }
  | {
      readonly driver: 'kubernetes';
      readonly services: readonly { readonly namespace: string; readonly name: string }[];
      /** The labels by which a Service selects each side. */
      readonly selectors: Readonly<Record<'blue' | 'green', Readonly<Record<string, string>>>>;
      /** null: where kubectl looks, or the pod's service account. */
      readonly config: string | null;
    };

/**
 * The limits of a handover that were given, not defaulted: they travel with the request (DESIGN 7), and the runner's
 * own settings hold for the rest. JSON-safe.
 */
export interface GivenLimits {
  freezeBudgetMs?: number;
  maxLagBytes?: string;
  maxSweepAgeMs?: number;
  acceptParked?: number | 'all';
}

/** @returns what of the handover's limits was given by flag, environment or file. */
export function givenLimits(settings: Settings): GivenLimits {
  const given = (name: OptionName): boolean => settings.origins[name] !== 'default';
  return {
    ...(given('freeze-budget') ? { freezeBudgetMs: settings.freezeBudgetMs } : {}),
    ...(given('max-lag') ? { maxLagBytes: settings.maxLagBytes.toString() } : {}),
    ...(given('max-sweep-age') ? { maxSweepAgeMs: settings.maxSweepAgeMs } : {}),
    ...(given('accept-parked') ? { acceptParked: settings.acceptParked } : {}),
  };
}
