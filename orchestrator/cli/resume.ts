import type { Command } from './command.ts';
import { setPaused } from './pausing.ts';

export const resume: Command = {
  name: 'resume',
  describe: 'Let copy and sweeps go on',
  flags: {},
  options: ['timeout', 'reason'],
  examples: [['$0 resume', 'from where it stopped']],
  acts: true,
  run: (call) => setPaused(call, 'resume'),
};
