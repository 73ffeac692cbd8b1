import { reasonOf } from './ask.ts';
import type { Call, Command, Result } from './command.ts';
import { confirm, YES } from './confirm.ts';
import { end } from './ending.ts';
import { SUMMARIES } from './summaries.ts';

export const abort: Command = {
  name: 'abort',
  describe: SUMMARIES.abort,
  flags: YES,
  options: ['source-schema', 'org-schema', 'timeout', 'reason'],
  examples: [['$0 abort --yes', 'exit 6: something could not be reached; run it again']],
  acts: true,
  run: undo,
};

async function undo(call: Call): Promise<Result> {
  await confirm(call, [
    `${call.settings.migration}: abort removes the copied rows and everything else of this migration`,
  ]);
  return end(call, { command: 'abort', options: reasonOf(call) });
}
