import type { Command } from './command.ts';
import { setPaused } from './pausing.ts';
import { SUMMARIES } from './summaries.ts';

export const resume: Command = {
  name: 'resume',
  describe: SUMMARIES.resume,
  flags: {},
  options: ['timeout', 'reason'],
  examples: [['$0 resume', 'from where it stopped']],
  acts: true,
  run: (call) => setPaused(call, 'resume'),
};
