import { failure } from '../errors/failure.ts';
import type { Call } from './command.ts';

/** The flag that skips the prompt, and never a gate. */
export const YES = {
  yes: { kind: 'boolean', describe: 'Do not ask for the name of the migration' },
} as const;

/**
 * Has the migration's name typed, unless `--yes` was given. @param about what is about to happen, shown first.
 * @throws OrchestrateError CONFIRMATION_NEEDED off a terminal or when another name is typed; INTERRUPTED for Ctrl-C.
 */
export async function confirm(call: Call, about: readonly string[]): Promise<void> {
  if (call.flags['yes'] === true) return;
  const { migration } = call.settings;
  if (!call.terminal.interactive)
    throw failure('CONFIRMATION_NEEDED', {
      expected: '--yes, or a terminal on which the name of the migration is typed',
      found: 'neither',
      fix: `orchestrate ${call.name} --yes`,
    });
  for (const line of about) call.terminal.note(line);
  const { isCancel, text } = await import('@clack/prompts');
  const answer = await text({
    message: `Type the migration name to continue: ${migration}`,
    output: process.stderr,
    signal: call.signal,
  });
  if (isCancel(answer)) throw (call.signal.reason as Error | undefined) ?? failure('INTERRUPTED');
  if (answer.trim() !== migration)
    throw failure('CONFIRMATION_NEEDED', { expected: migration, found: 'another name; nothing was done' });
}
