import { failure, type OrchestrateError } from './failure.ts';
import { sqlState } from './sqlstate.ts';

/**
 * Turns a failed connection attempt into CANNOT_CONNECT or AUTHENTICATION. `where` is `host:port/database`.
 * The server's own text is not repeated beyond its SQLSTATE: a driver message can quote the connection string.
 */
export function connectionFailure(side: 'blue' | 'green', where: string, cause: unknown): OrchestrateError {
  const state = sqlState(cause);
  // 28: invalid authorization, 3D000: no such database, 42501: no CONNECT privilege.
  const refused = state !== undefined && (state.startsWith('28') || state === '3D000' || state === '42501');
  return failure(refused ? 'AUTHENTICATION' : 'CANNOT_CONNECT', {
    message: refused ? `${side} at ${where} refused the login` : `${side} at ${where} cannot be reached`,
    expected: refused ? 'a login that may connect' : 'a PostgreSQL server that answers',
    found: state ?? (cause instanceof Error ? cause.message.slice(0, 80) : 'no answer'),
    cause,
  });
}
