import type { HandoverKind, Side } from '../../pg/side.ts';
import type { HandoverDocument, StepDocument, StepName } from '../../state/documents.ts';
import { STEPS } from '../../state/documents.ts';
import type { Style } from '../terminal.ts';
import { count, flow, seconds } from './format.ts';

/** Which sides a handover is between. */
export interface Way {
  readonly from: Side;
  readonly to: Side;
}

export function wayOf(kind: HandoverKind): Way {
  return kind === 'cutover' ? { from: 'blue', to: 'green' } : { from: 'green', to: 'blue' };
}

/** What a step does, in the words of the terminal. */
function title(step: StepName, { from, to }: Way): string {
  switch (step) {
    case 'gates':
      return 'gates';
    case 'pause':
      return 'pause clients';
    case 'freeze':
      return `freeze writes on ${from}`;
    case 'drain':
      return 'drain';
    case 'verify':
      return 'verify';
    case 'stop':
      return 'stop sync';
    case 'arm':
      return `arm ${to}`;
    case 'decide':
      return 'decide';
    case 'open':
      return `open ${to}`;
    case 'switch':
      return 'switch, resume clients';
    case 'reverse':
      return 'reverse sync, canary';
  }
}

/** Facts that belong into the line itself; every other note stands behind it, where moments are marked. */
const INLINE: readonly StepName[] = ['gates', 'drain', 'verify', 'stop'];

/** What stands between a step and its fact. */
const LINK: Partial<Record<StepName, string>> = { drain: ' to ', stop: ', ' };

/** One line a step. @param fancy a terminal: marks and columns; else plain words. */
export function renderStep(step: StepDocument, way: Way, fancy: boolean, style: Style): string {
  const number = STEPS.indexOf(step.step) + 1;
  const what = title(step.step, way);
  const time = `${step.seconds.toFixed(2)} s`;
  if (!fancy)
    return `step ${number} ${what}: ${step.ok ? 'ok' : 'failed'}, ${time}${step.note ? `, ${step.note}` : ''}`;
  const inline = INLINE.includes(step.step) && step.note !== undefined;
  const mark = step.ok ? style.green('✓') : style.red('✗');
  const text = inline ? `${what}${LINK[step.step] ?? ' '}${step.note}` : what;
  const moment = !inline && step.note !== undefined ? style.dim(`   ← ${step.note}`) : '';
  return ` ${mark} ${String(number).padStart(2)} ${text.padEnd(32)} ${time.padStart(7)}${moment}`;
}

/** What a `cutover` or `revert` came to. An error stands elsewhere; this says what holds now. */
export function renderHandover(
  d: HandoverDocument,
  kind: HandoverKind,
  columns: number,
  style: Style,
): string {
  const next = d.next_steps.length === 0 ? [] : [flow('Next: ', d.next_steps, columns)];
  const gates = (d.gates ?? []).filter((g) => d.outcome === 'dry-run' || g.passed !== true);
  const gateLines = gates.map((g) => {
    const mark = g.passed === true ? style.green('✓') : style.red('✗');
    return ` ${mark} ${g.name.padEnd(12)}  ${g.detail}`;
  });
  const facts = (d.not_revertible ?? []).filter((f) => f.rows > 0);
  const factLines = facts.map((f) => ` stays on green: ${count(f.rows)} ${f.what}`);
  const predicted = (d.predicted_steps ?? []).map((p) => `${p.step} ${seconds(p.seconds)}`);
  const steps = predicted.length === 0 ? [] : [flow('Then: ', predicted, columns)];
  return [...gateLines, ...factLines, verdict(d, kind), ...steps, ...next].join('\n');
}

function verdict(d: HandoverDocument, kind: HandoverKind): string {
  const budget = seconds(d.budget_seconds);
  const frozen = `No writes for ${seconds(d.freeze_seconds)} of ${budget}.`;
  switch (d.outcome) {
    case 'done':
      return `Done. ${frozen} ${d.serving} takes writes. ${kind === 'cutover' ? 'Revert is safe.' : 'Cutover is possible.'}`;
    case 'rehearsed':
      return `Rehearsed. ${frozen} ${d.serving} takes writes, as before.`;
    case 'dry-run':
      return `GO. Predicted freeze ${seconds(d.predicted_seconds)} of ${budget}. Nothing was touched.`;
    case 'no-go':
      return `NO-GO. ${d.serving} takes writes; nothing was touched.`;
    case 'aborted':
      return `Aborted. ${d.serving} takes writes, as before.`;
    case 'unfinished':
      return `Decided, not finished: ${d.serving} serves. Nothing is taken back from here on.`;
  }
}
