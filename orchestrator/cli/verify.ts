import type { VerifyDocument } from '../state/documents.ts';
import { ask, reasonOf } from './ask.ts';
import type { Call, Command, Result } from './command.ts';
import { SUMMARIES } from './summaries.ts';

export const verify: Command = {
  name: 'verify',
  describe: SUMMARIES.verify,
  flags: {
    repair: { kind: 'boolean', describe: 'Derive keys that differ anew from the serving side' },
    guide: {
      kind: 'boolean',
      describe: "The migration guide's own queries instead, and that every key can log in; needs no run",
    },
    side: {
      kind: 'text',
      choices: ['blue', 'green'],
      describe:
        'With --guide: where the org model is; green unless given, or unless there is only a blue URL',
    },
  },
  options: ['source-schema', 'org-schema', 'timeout', 'reason'],
  examples: [
    ['$0 verify --json', 'names of tables, keys and columns; never values'],
    ['$0 verify --guide --side blue', 'after migrate up --side blue'],
  ],
  acts: true,
  run: (call) => (call.flags['guide'] === true ? askGuide(call) : sweep(call)),
};

async function askGuide({ settings, flags, terminal }: Call): Promise<Result> {
  const [{ checkGuide }, { endpointOf }, { renderGuide }] = await Promise.all([
    import('../phases/guide-check.ts'),
    import('../pg/endpoints.ts'),
    import('./render/guide.ts'),
  ]);
  const inPlace = flags['side'] === 'blue' || (flags['side'] === undefined && settings.urls.green === null);
  const document = await checkGuide(
    endpointOf(settings, 'blue'),
    inPlace ? null : endpointOf(settings, 'green'),
    settings.schemas,
    (line) => terminal.note(line),
  );
  return { exit: document.clean ? 0 : 3, document, text: () => renderGuide(document, terminal.out) };
}

async function sweep(call: Call): Promise<Result> {
  const { renderVerify } = await import('./render/verify.ts');
  const { exit, document } = await ask<VerifyDocument>(call, {
    command: 'verify',
    options: { repair: call.flags['repair'] === true, ...reasonOf(call) },
  });
  return { exit, document, text: () => ('rows_compared' in document ? renderVerify(document) : '') };
}
