import { OrchestrateError } from './failure.ts';

/** @returns the SQLSTATE of an error the server sent, or of a lost socket the driver's code; undefined for others. */
export function sqlState(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const code = (error as { code?: unknown }).code;
  return typeof code === 'string' ? code : undefined;
}

const TRANSIENT = new Set([
  '40001', // serialization_failure
  '40P01', // deadlock_detected
  '55P03', // lock_not_available
  '55006', // object_in_use: a slot whose former walsender is still ending
  '53100', // disk_full
  '53200', // out_of_memory
  '53300', // too_many_connections
  '57P01', // admin_shutdown
  '57P02', // crash_shutdown
  '57P03', // cannot_connect_now
  '57014', // query_canceled
  'ECONNRESET',
  'ECONNREFUSED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EAI_AGAIN',
]);

/** @returns whether what was asked for is no longer there: undefined_table, invalid_schema_name. */
export function isGone(error: unknown): boolean {
  const state = sqlState(error);
  return state === '42P01' || state === '3F000';
}

/** @returns whether the same work may succeed when it is done again, whole. */
export function isTransient(error: unknown): boolean {
  if (error instanceof OrchestrateError) return error.entry.retry === 'transient';
  const state = sqlState(error);
  if (state !== undefined) return TRANSIENT.has(state) || state.startsWith('08') || state.startsWith('58');
  // The driver has no code for a socket that closed under a query.
  return (
    error instanceof Error &&
    /Connection terminated|Client has encountered a connection error|Client was closed|connection timeout|timeout exceeded when trying to connect/i.test(
      error.message,
    )
  );
}
