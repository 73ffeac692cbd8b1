import { givenLimits } from '../config/settings.ts';
import { failure } from '../errors/failure.ts';
import type { HandoverKind } from '../pg/side.ts';
import type { HandoverDocument, JournalEntry, StepDocument } from '../state/documents.ts';
import { ask, reasonOf } from './ask.ts';
import type { Call, Flag, Result } from './command.ts';

export const HANDOVER_FLAGS: Readonly<Record<string, Flag>> = {
  'dry-run': { kind: 'boolean', describe: 'Judge the gates, predict the freeze, touch nothing' },
  rehearse: { kind: 'boolean', describe: 'Freeze, drain, verify and arm for real, then take it all back' },
  'terminate-blockers': {
    kind: 'boolean',
    describe: 'End sessions that keep the freeze waiting for longer than 1 s (needs pg_signal_backend)',
  },
};

export const HANDOVER_OPTIONS = [
  'freeze-budget',
  'max-lag',
  'max-sweep-age',
  'accept-parked',
  'timeout',
  'reason',
] as const;

/** `cutover` and `revert`: one protocol in two directions (DESIGN 7). */
export async function handOver(call: Call, kind: HandoverKind): Promise<Result> {
  const { terminal, settings } = call;
  const [{ renderHandover, renderStep, wayOf }, { STEP_EVENT }] = await Promise.all([
    import('./render/handover.ts'),
    import('../state/documents.ts'),
  ]);
  const dryRun = call.flags['dry-run'] === true;
  const rehearse = call.flags['rehearse'] === true;
  if (dryRun && rehearse)
    throw failure('CONFIG_INVALID', {
      message: '--dry-run and --rehearse exclude each other',
      expected: 'one of them',
      found: 'both',
    });
  const way = wayOf(kind);
  const options = {
    ...givenLimits(settings),
    ...reasonOf(call),
    ...(call.flags['terminate-blockers'] === true ? { terminateBlockers: true } : {}),
  };
  // A dry run touches nothing, so nobody has to be sure of anything.
  if (!dryRun) {
    const { confirm } = await import('./confirm.ts');
    const refused = await introduce(call, kind);
    if (refused !== null) return refused;
    await confirm(call, []);
  }
  const onEvent = (entry: JournalEntry): void => {
    if (entry.event !== STEP_EVENT) return;
    const step = entry.detail as unknown as StepDocument;
    terminal.note(renderStep(step, way, terminal.stderrIsTerminal && !terminal.json, terminal.err));
  };
  const request = { command: kind, options: { dryRun, rehearse, ...options } } as const;
  const { exit, document } = await ask<HandoverDocument>(call, request, onEvent);
  const text = () =>
    'outcome' in document ? renderHandover(document, kind, terminal.columns, terminal.out) : '';
  return { exit, document, text };
}

/**
 * Told before the name is typed: the way, the limits, and what a revert cannot carry back.
 * @returns how it ends when the command has no meaning now; null when the name may be asked for.
 */
async function introduce(call: Call, kind: HandoverKind): Promise<Result | null> {
  const { settings, terminal } = call;
  if (call.flags['yes'] === true || !terminal.interactive) return null;
  const [{ wayOf }, { count, seconds }] = await Promise.all([
    import('./render/handover.ts'),
    import('./render/format.ts'),
  ]);
  const { exit, document } = await ask<HandoverDocument>(call, {
    command: kind,
    options: { dryRun: true, rehearse: false, ...givenLimits(settings) },
  });
  if (!('outcome' in document)) return { exit, document };
  const { from, to } = wayOf(kind);
  const way = `${from.toUpperCase()} → ${to.toUpperCase()}, traffic=${settings.traffic.driver}`;
  const limits = `budget ${seconds(document.budget_seconds)}, predicted ${seconds(document.predicted_seconds)}`;
  terminal.note(`${settings.migration}: ${way}, ${limits}`);
  for (const fact of document.not_revertible ?? [])
    if (fact.rows > 0) terminal.note(`stays on green: ${count(fact.rows)} ${fact.what}`);
  return null;
}
