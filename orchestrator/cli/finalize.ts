import { failure } from '../errors/failure.ts';
import { reasonOf } from './ask.ts';
import type { Call, Command, Result } from './command.ts';
import { confirm, YES } from './confirm.ts';
import { end } from './ending.ts';
import { SUMMARIES } from './summaries.ts';

export const finalize: Command = {
  name: 'finalize',
  describe: SUMMARIES.finalize,
  flags: {
    'release-blue': { kind: 'boolean', describe: "Open blue's closed fence too, when green serves" },
    'release-green': { kind: 'boolean', describe: "Open green's closed fence too, when blue serves" },
    'keep-control': { kind: 'boolean', describe: 'Keep the control schemas, with journal and kept rows' },
    'keep-compat-view': { kind: 'boolean', describe: 'Keep the view user_settings on green' },
    ...YES,
  },
  options: ['source-schema', 'org-schema', 'timeout', 'reason'],
  examples: [['$0 finalize --yes', "the standby's closed fence stays, against forgotten jobs"]],
  acts: true,
  run: finish,
};

async function finish(call: Call): Promise<Result> {
  const { flags, settings } = call;
  if (flags['release-blue'] === true && flags['release-green'] === true)
    throw failure('CONFIG_INVALID', {
      message: '--release-blue and --release-green exclude each other',
      expected: 'the side that does not serve',
      found: 'both',
    });
  await confirm(call, [`${settings.migration}: after finalize there is no way back`]);
  const release =
    flags['release-blue'] === true ? 'blue' : flags['release-green'] === true ? 'green' : undefined;
  return end(call, {
    command: 'finalize',
    options: {
      ...(release === undefined ? {} : { release }),
      keepControl: flags['keep-control'] === true,
      keepCompatView: flags['keep-compat-view'] === true,
      ...reasonOf(call),
    },
  });
}
