import { createHash } from 'node:crypto';
import type { Settings } from '../config/settings.ts';
import type { Side } from '../pg/side.ts';
import type { Configuration } from './report.ts';

/** What of a rehearsal's options decides what is rehearsed. */
export interface Scale {
  readonly users: number;
  readonly rate: number;
  readonly soakMs: number;
  readonly seed: string;
  /** Whether the old application goes on on green. */
  readonly oldAppOnGreen?: boolean;
}

/** The generator makes rows that have to be parked; they are accepted unless the operator said how many may be. */
export function acceptedParked(settings: Settings): number | 'all' {
  return settings.origins['accept-parked'] === 'default' ? 'all' : settings.acceptParked;
}

/** @returns what was rehearsed, with a hash that tells whether two rehearsals are of the same thing. */
export function configurationOf(settings: Settings, scale: Scale): Configuration {
  const configuration = {
    migration: settings.migration,
    users: scale.users,
    rate_per_second: scale.rate,
    soak_seconds: scale.soakMs / 1_000,
    seed: scale.seed,
    freeze_budget_seconds: settings.freezeBudgetMs / 1_000,
    max_lag_bytes: Number(settings.maxLagBytes),
    max_sweep_age_seconds: settings.maxSweepAgeMs / 1_000,
    accept_parked: acceptedParked(settings),
    copy_workers: settings.copyWorkers,
    compat_view: settings.compatView || scale.oldAppOnGreen === true,
  };
  const hash = createHash('sha256').update(JSON.stringify(configuration)).digest('hex').slice(0, 16);
  return { hash, ...configuration };
}

/** The same settings as the environment of the program that is rehearsed; URLs only as names of files. */
export function environmentOf(
  settings: Settings,
  urlFiles: Readonly<Record<Side, string>>,
  metricsPort: number,
): Record<string, string> {
  return {
    ORCHESTRATE_BLUE_URL_FILE: urlFiles.blue,
    ORCHESTRATE_GREEN_URL_FILE: urlFiles.green,
    ORCHESTRATE_MIGRATION: settings.migration,
    ORCHESTRATE_REASON: 'rehearsal',
    ORCHESTRATE_FREEZE_BUDGET: `${settings.freezeBudgetMs}ms`,
    ORCHESTRATE_MAX_LAG: settings.maxLagBytes.toString(),
    ORCHESTRATE_MAX_SWEEP_AGE: `${settings.maxSweepAgeMs}ms`,
    ORCHESTRATE_ACCEPT_PARKED: String(acceptedParked(settings)),
    ORCHESTRATE_SWEEP_INTERVAL: `${settings.sweepIntervalMs}ms`,
    ORCHESTRATE_COPY_WORKERS: String(settings.copyWorkers),
    ...(settings.maxCopyBytesPerSecond === null
      ? {}
      : { ORCHESTRATE_MAX_COPY_RATE: String(settings.maxCopyBytesPerSecond) }),
    ORCHESTRATE_TRUNCATE: settings.truncate,
    ORCHESTRATE_COMPAT_VIEW: String(settings.compatView),
    ORCHESTRATE_METRICS_LISTEN: `127.0.0.1:${metricsPort}`,
    ORCHESTRATE_LOG_FORMAT: 'json',
    NO_COLOR: '1',
  };
}
