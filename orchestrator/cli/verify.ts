import type { VerifyDocument } from '../state/documents.ts';
import { ask, reasonOf } from './ask.ts';
import type { Call, Command, Result } from './command.ts';

export const verify: Command = {
  name: 'verify',
  describe: 'Compare both sides anew, completely, at one LSN: 0 clean, 3 differences',
  flags: { repair: { kind: 'boolean', describe: 'Derive keys that differ anew from the serving side' } },
  options: ['timeout', 'reason'],
  examples: [['$0 verify --json', 'names of tables, keys and columns; never values']],
  acts: true,
  run: sweep,
};

async function sweep(call: Call): Promise<Result> {
  const { renderVerify } = await import('./render/verify.ts');
  const { exit, document } = await ask<VerifyDocument>(call, {
    command: 'verify',
    options: { repair: call.flags['repair'] === true, ...reasonOf(call) },
  });
  return { exit, document, text: () => ('rows_compared' in document ? renderVerify(document) : '') };
}
