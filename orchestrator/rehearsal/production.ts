import type { Settings } from '../config/settings.ts';
import { failure } from '../errors/failure.ts';
import { connect } from '../pg/connect.ts';
import { label } from '../pg/endpoint.ts';
import { endpointOf } from '../pg/endpoints.ts';
import { SIDES } from '../pg/side.ts';

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
 * @throws OrchestrateError REHEARSAL_REFUSED; CANNOT_CONNECT when a database cannot be asked.
 */
export async function refuseProductionDatabases(settings: Pick<Settings, 'urls'>): Promise<void> {
  for (const side of SIDES) {
    if (settings.urls[side] === null) continue;
    const endpoint = endpointOf(settings, side);
    const client = await connect(endpoint, { purpose: 'rehearsal look' });
    try {
      const { rows } = await client.query<{ environment: string | null }>(ENVIRONMENT);
      if (isProduction(rows[0]?.environment))
        throw failure('REHEARSAL_REFUSED', {
          expected: 'databases without orchestrate.environment = production',
          found: `${side} (${label(endpoint)}) says production`,
        });
    } finally {
      await client.end();
    }
  }
}
