import { failure, type OrchestrateError } from './failure.ts';
import { sqlState } from './sqlstate.ts';

/** The machine has no room or no file descriptors left. Its codes are those of errno(3). */
export function machineFailure(error: unknown): OrchestrateError | undefined {
  const code = sqlState(error);
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EFBIG':
    case 'EROFS':
      return failure('CANNOT_WRITE', { found: code, cause: error });
    case 'EMFILE':
    case 'ENFILE':
      return failure('OUT_OF_FILES', { found: code, cause: error });
    default:
      return undefined;
  }
}
