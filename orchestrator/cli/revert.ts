import type { Command } from './command.ts';
import { YES } from './confirm.ts';
import { HANDOVER_FLAGS, HANDOVER_OPTIONS, handOver } from './handover.ts';
import { SUMMARIES } from './summaries.ts';

export const revert: Command = {
  name: 'revert',
  describe: SUMMARIES.revert,
  flags: { ...HANDOVER_FLAGS, ...YES },
  options: HANDOVER_OPTIONS,
  examples: [['$0 revert --dry-run', 'go or no-go, and what the old schema cannot express']],
  acts: true,
  run: (call) => handOver(call, 'revert'),
};
