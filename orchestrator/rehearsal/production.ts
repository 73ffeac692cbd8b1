import pg from 'pg';
import type { Settings } from '../config/settings.ts';
import { failure } from '../errors/failure.ts';
import { type Endpoint, label } from '../pg/endpoint.ts';

/** `ALTER DATABASE app SET orchestrate.environment = 'production'` says it on the server's side. */
const ENVIRONMENT = `SELECT current_setting('orchestrate.environment', true) AS environment`;

const isProduction = (text: string | null | undefined): boolean =>
  text?.trim().toLowerCase() === 'production';

/**
 * A rehearsal writes, fences and ends: never where the configuration says production.
 * @throws OrchestrateError REHEARSAL_REFUSED
 */
export function refuseProduction(settings: Pick<Settings, 'environment'>): void {
  if (isProduction(settings.environment))
    throw failure('REHEARSAL_REFUSED', {
      expected: 'an environment that is not labelled production',
      found: 'environment: production in the configuration',
    });
}

/**
 * The same by the databases' own word, so that a wrong URL alone cannot do it.
 * @throws OrchestrateError REHEARSAL_REFUSED, or the driver's error when a database cannot be asked.
 */
export async function refuseProductionDatabases(endpoints: readonly Endpoint[]): Promise<void> {
  for (const at of endpoints) {
    const client = new pg.Client({
      host: at.host,
      port: at.port,
      database: at.database,
      user: at.user,
      ...(at.password === undefined ? {} : { password: at.password }),
      ssl: at.tls,
      connectionTimeoutMillis: 10_000,
    });
    client.on('error', () => undefined);
    await client.connect();
    try {
      const { rows } = await client.query<{ environment: string | null }>(ENVIRONMENT);
      if (isProduction(rows[0]?.environment))
        throw failure('REHEARSAL_REFUSED', {
          expected: 'databases without orchestrate.environment = production',
          found: `${at.side} (${label(at)}) says production`,
        });
    } finally {
      await client.end();
    }
  }
}
