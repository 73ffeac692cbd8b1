import type { Command } from './command.ts';
import { SUMMARIES } from './summaries.ts';
import { packageVersion } from './version.ts';

export const version: Command = {
  name: 'version',
  describe: SUMMARIES.version,
  flags: {},
  options: [],
  examples: [['$0 version --json', 'for a script']],
  acts: false,
  run: async () => {
    const document = { version: packageVersion(), node: process.version };
    return {
      exit: 0,
      document,
      text: () => `orchestrate ${document.version}, Node.js ${document.node}`,
    };
  },
};
