import type { Command } from './command.ts';
import { setPaused } from './pausing.ts';
import { SUMMARIES } from './summaries.ts';

export const pause: Command = {
  name: 'pause',
  describe: SUMMARIES.pause,
  flags: {},
  options: ['timeout', 'reason'],
  examples: [["$0 pause --reason 'reports run until six'", 'the copy ends its chunks and waits']],
  acts: true,
  run: (call) => setPaused(call, 'pause'),
};
