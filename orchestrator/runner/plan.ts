import {
  forwardList,
  inverseQuery,
  MAPPABLE,
  PARK_REASON,
  relationOf,
  SOURCE_LIST,
} from '../../src/mapping/sql.ts';
import { TARGETS } from '../../src/mapping/target.ts';
import type { Settings } from '../config/settings.ts';
import { type CopyForecast, forecastCopy } from '../copy/forecast.ts';
import { sqlState } from '../errors/sqlstate.ts';
import type { Log } from '../log/log.ts';
import { noMetrics } from '../metrics/metrics.ts';
import { endpointsOf } from '../pg/endpoints.ts';
import type { Side } from '../pg/side.ts';
import { namesOf, relationsOf, tablesOf } from '../state/names.ts';
import { contextOf } from './control.ts';

/** What a run with these settings would do: from the settings and the mapping, and from a sample where there is one. */
export interface PlanDocument {
  readonly migration: string;
  /** What is created on each side, and removed again by finalize or abort. */
  readonly creates: Readonly<Record<Side, readonly string[]>>;
  readonly copy: {
    readonly from: string;
    readonly targets: readonly { readonly table: string; readonly columns: number }[];
    readonly parked: string;
    readonly workers: number;
    /** null: not asked for, no databases named, or no rows; `forecast_unknown` then says which. */
    readonly forecast: CopyForecast | null;
    readonly forecast_unknown?: string;
  };
  readonly handover: { readonly freeze_budget_seconds: number; readonly traffic: string };
  readonly sql?: Readonly<Record<string, string>>;
}

/** How long the copy takes, or why nobody can tell. */
export type Forecast = { readonly forecast: CopyForecast } | { readonly unknown: string };

/**
 * Samples both servers for two seconds; nothing of it stays there.
 * @throws OrchestrateError CANNOT_CONNECT, AUTHENTICATION.
 */
export async function forecast(settings: Settings, log: Log, signal: AbortSignal): Promise<Forecast> {
  if (settings.urls.blue === null || settings.urls.green === null)
    return { unknown: 'no databases are named' };
  const { migration, schemas, copyWorkers: workers, maxCopyBytesPerSecond: rate } = settings;
  const ctx = contextOf(
    { migration, schemas, endpoints: endpointsOf(settings), log, metrics: noMetrics, signal },
    () => ({ migration, epoch: 0n, generation: 0n }),
  );
  try {
    const found = await forecastCopy(ctx, { workers, ...(rate === null ? {} : { maxRateBytes: rate }) });
    return found === null ? { unknown: 'there is no row to copy' } : { forecast: found };
  } catch (error) {
    // Preflight names the right that is missing, and the statement that grants it.
    if (sqlState(error) === '42501') return { unknown: 'a right is missing: orchestrate preflight' };
    throw error;
  }
}

/** @param withSql also what the mapping derives, statement by statement. */
export function planOf(settings: Settings, withSql: boolean, sampled: Forecast): PlanDocument {
  const names = namesOf(settings.migration);
  const relations = relationsOf(settings.schemas);
  const creates = (side: Side): string[] => {
    const tables = tablesOf(side, settings.schemas).map((t) => `${t.schema}.${t.name}`);
    return [
      'schema orchestrator',
      ...(side === 'green' ? [`tables ${tables.join(', ')} (they stay)`] : []),
      `trigger orchestrate_fence on ${tables.join(', ')}`,
      `publication ${names.publication[side]} for ${tables.join(', ')}`,
      `replication slot ${names.slot[side]}`,
      ...(side === 'green' && settings.compatView ? ['view user_settings'] : []),
    ];
  };
  return {
    migration: settings.migration,
    creates: { blue: creates('blue'), green: creates('green') },
    copy: {
      from: relations.userSettings,
      targets: TARGETS.map((t) => ({ table: relationOf(relations, t.table), columns: t.columns.length })),
      parked: relations.parked,
      workers: settings.copyWorkers,
      ...('unknown' in sampled
        ? { forecast: null, forecast_unknown: sampled.unknown }
        : { forecast: sampled.forecast }),
    },
    handover: {
      freeze_budget_seconds: settings.freezeBudgetMs / 1000,
      traffic: settings.traffic.driver,
    },
    ...(withSql ? { sql: derived(settings) } : {}),
  };
}

/** The mapping as SQL: what every reader of it uses. */
function derived(settings: Settings): Record<string, string> {
  const relations = relationsOf(settings.schemas);
  const from = `FROM ${relations.userSettings} AS us`;
  return {
    ...Object.fromEntries(
      TARGETS.map((t) => [`forward ${t.table}`, `SELECT ${forwardList(t)} ${from} WHERE ${MAPPABLE}`]),
    ),
    'parked (without an image)': `SELECT ${SOURCE_LIST}, ${PARK_REASON} AS reason ${from} WHERE NOT (${MAPPABLE}) IS TRUE`,
    'inverse user_settings': inverseQuery(relations, 'true'),
  };
}
