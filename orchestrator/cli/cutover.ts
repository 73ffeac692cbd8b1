import type { Command } from './command.ts';
import { YES } from './confirm.ts';
import { HANDOVER_FLAGS, HANDOVER_OPTIONS, handOver } from './handover.ts';
import { SUMMARIES } from './summaries.ts';

export const cutover: Command = {
  name: 'cutover',
  describe: SUMMARIES.cutover,
  flags: { ...HANDOVER_FLAGS, ...YES },
  options: HANDOVER_OPTIONS,
  examples: [
    ['$0 cutover --dry-run', 'go or no-go, and the predicted freeze'],
    ['$0 cutover --yes --json', 'from a script'],
  ],
  acts: true,
  run: (call) => handOver(call, 'cutover'),
};
