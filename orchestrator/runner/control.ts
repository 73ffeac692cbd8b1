import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { Settings } from '../config/settings.ts';
import type { Log } from '../log/log.ts';
import { type Metrics, noMetrics } from '../metrics/metrics.ts';
import { connect, createPool } from '../pg/connect.ts';
import type { Endpoint } from '../pg/endpoint.ts';
import { endpointsOf } from '../pg/endpoints.ts';
import type { Side } from '../pg/side.ts';
import type { Claim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import { appendOurs } from '../state/journal.ts';
import { namesOf, relationsOf, type Schemas } from '../state/names.ts';

/** The runner's sessions for control work, and the context that everything it starts is handed. */
export interface Control {
  readonly ctx: Context;
  readonly clients: Readonly<Record<Side, pg.Client>>;
  /** Short statements on green from concurrent work: requests, journal, observations. */
  readonly green: pg.Pool;
  setClaim(claim: { epoch?: bigint; generation?: bigint }): void;
  /** Opens the control sessions anew; after a handover or an error they may be gone. */
  close(): Promise<void>;
}

/** What a control needs to know; the settings of a command hold more. */
export interface ControlOptions {
  readonly migration: string;
  readonly schemas: Schemas;
  readonly endpoints: Readonly<Record<Side, Endpoint>>;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly signal: AbortSignal;
}

/** Our own next epoch is on the server for a moment before we go by it. */
const OWN_EPOCH_TRIES = 4;
const OWN_EPOCH_MS = 50;

/** A context without sessions or lease: for commands that only read, and for preflight. */
export function contextOf(options: ControlOptions, claim: () => Claim, green?: pg.Pool): Context {
  const { migration, schemas, endpoints, log, metrics, signal } = options;
  let last: Promise<void> = Promise.resolve();
  const write = async (event: string, detail: Readonly<Record<string, unknown>>): Promise<void> => {
    if (!green) return;
    const client = await green.connect();
    try {
      for (let tries = 0; tries < OWN_EPOCH_TRIES; tries++) {
        if (tries > 0) await delay(OWN_EPOCH_MS);
        if (!(await appendOurs(client, claim(), event, detail))) continue;
        await client.query(`SELECT pg_notify('orchestrate', 'journal')`);
        return;
      }
    } finally {
      client.release();
    }
  };
  return {
    names: namesOf(migration),
    schemas,
    relations: relationsOf(schemas),
    endpoints,
    log,
    metrics,
    signal,
    claim,
    journal: (event, detail) => {
      log.info(detail, event);
      // One after the other: the journal's order is the order in which things were decided.
      const written = last.catch(() => {}).then(() => write(event, detail));
      last = written;
      return written;
    },
  };
}

/** The context of work that needs no lease of a runner: abort from blue alone, and the end of an unfinished ending. */
export function contextAlone(settings: Settings, log: Log): Context {
  const { migration, schemas } = settings;
  const endpoints = endpointsOf(settings);
  const signal = new AbortController().signal;
  return contextOf({ migration, schemas, endpoints, log, metrics: noMetrics, signal }, () => ({
    migration,
    epoch: 0n,
    generation: 0n,
  }));
}

/** Opens the control sessions. @throws OrchestrateError CANNOT_CONNECT, AUTHENTICATION. */
export async function openControl(options: ControlOptions): Promise<Control> {
  let claim: Claim = { migration: options.migration, epoch: 0n, generation: 0n };
  const pool = createPool(options.endpoints.green, { purpose: 'control', max: 4 });
  const ctx = contextOf(options, () => claim, pool);
  const opened: pg.Client[] = [];
  try {
    for (const side of ['blue', 'green'] as const)
      opened.push(await connect(options.endpoints[side], { purpose: 'control' }));
  } catch (error) {
    await Promise.all(opened.map((c) => c.end().catch(() => {})));
    await pool.end();
    throw error;
  }
  const [blue, green] = opened as [pg.Client, pg.Client];
  return {
    ctx,
    clients: { blue, green },
    green: pool,
    setClaim: (change) => {
      claim = { ...claim, ...change };
    },
    close: async () => {
      await Promise.all([...opened.map((c) => c.end().catch(() => {})), pool.end().catch(() => {})]);
    },
  };
}
