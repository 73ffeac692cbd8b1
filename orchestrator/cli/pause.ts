import type { Command } from './command.ts';
import { setPaused } from './pausing.ts';

export const pause: Command = {
  name: 'pause',
  describe: 'Hold copy and sweeps; sync goes on',
  flags: {},
  options: ['timeout', 'reason'],
  examples: [["$0 pause --reason 'reports run until six'", 'the copy ends its chunks and waits']],
  acts: true,
  run: (call) => setPaused(call, 'pause'),
};
