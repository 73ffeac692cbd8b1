import { scrub } from '../log/redact.ts';
import { failure, OrchestrateError } from './failure.ts';
import { machineFailure } from './machine.ts';
import { isTransient, sqlState } from './sqlstate.ts';

/**
 * Any error as one of the catalogue. A server's message can quote a value of the row it refused, so of a server's
 * error only the SQLSTATE is told.
 */
export function asFailure(error: unknown): OrchestrateError {
  if (error instanceof OrchestrateError) return error;
  const machine = machineFailure(error);
  if (machine !== undefined) return machine;
  const state = sqlState(error);
  if (isTransient(error)) return failure('TRANSIENT', { found: state ?? 'a lost connection', cause: error });
  if (state === '42501') return failure('RIGHT_MISSING', { found: 'error 42501', cause: error });
  const message = error instanceof Error ? error.message : 'something that is no error was thrown';
  return failure('INTERNAL', {
    found: state === undefined ? scrub(message).slice(0, 500) : `error ${state}`,
    cause: error,
  });
}
