import { GATES, type GateName, STEPS, type StepName } from '../../../orchestrator/state/documents.ts';
import { MOVES, type Phase } from '../../../orchestrator/state/state.ts';
import { code, table } from './markdown.ts';

/** What holds in a state, in a line. A state that is added has to be described before this compiles. */
const MEANING: Readonly<Record<Phase, { readonly serves: string; readonly what: string }>> = {
  created: { serves: 'blue', what: 'nothing was done yet' },
  prepared: { serves: 'blue', what: 'schema, publication and slot exist; green is fenced; no row has moved' },
  copying: { serves: 'blue', what: 'chunks of ids are copied, several at a time; blue is only read' },
  building: {
    serves: 'blue',
    what: 'what happened during the copy is caught up with; keys, constraints and indexes are built',
  },
  syncing: {
    serves: 'blue or green',
    what: 'every commit of the serving side is applied on the other; sweeps compare both',
  },
  'handing-over': { serves: 'the old side until the decision', what: 'the eleven steps below' },
  finalized: { serves: 'as before', what: 'the migration is over; nothing of it is left but the new tables' },
  aborting: { serves: 'blue', what: 'everything is being removed; something could not be reached yet' },
  aborted: { serves: 'blue', what: 'everything was removed' },
};

/** Names with a hyphen are not names to Mermaid. */
const node = (phase: Phase): string => phase.replaceAll('-', '_');

/** The table of legal moves as a diagram, and what each state means. */
export function states(): string {
  const phases = Object.keys(MOVES) as Phase[];
  const diagram = [
    '```mermaid',
    'stateDiagram-v2',
    ...phases.filter((p) => node(p) !== p).map((p) => `  state "${p}" as ${node(p)}`),
    `  [*] --> ${node('created')}`,
    ...phases.flatMap((from) => MOVES[from].map((to) => `  ${node(from)} --> ${node(to)}`)),
    ...phases.filter((p) => MOVES[p].length === 0).map((p) => `  ${node(p)} --> [*]`),
    '```',
  ].join('\n');
  const meanings = table(
    ['state', 'takes writes', 'what', 'next'],
    phases.map((p) => [
      code(p),
      MEANING[p].serves,
      MEANING[p].what,
      MOVES[p].length === 0 ? 'none' : MOVES[p].map(code).join(', '),
    ]),
  );
  return `${diagram}\n\n${meanings}`;
}

const STEP: Readonly<Record<StepName, readonly [what: string, fails: string]>> = {
  gates: ['every gate below is judged', 'no-go, exit 3; nothing was touched'],
  pause: ['the traffic driver pauses clients where it can', 'resumed; exit 5'],
  freeze: [
    'the serving side refuses writes from now on, until a deadline that the server itself keeps',
    'nothing changed; exit 5',
  ],
  drain: ['everything that was committed is applied on the other side', 'reopened; exit 5'],
  verify: [
    'the keys that changed since the last sweep, counts, definitions and sequences are compared',
    'reopened, the keys are named; exit 5',
  ],
  stop: ['sync stops; the position from which it will flow back is read', 'reopened; exit 5'],
  arm: [
    'the other side is opened in a transaction that is not committed yet',
    'rolled back, reopened; exit 5',
  ],
  decide: [
    'the serving side is closed for good, if the deadline has not passed: the point of no return',
    'refused by the server: rolled back, reopened; exit 5',
  ],
  open: ['the other side takes writes', 'exit 6: `orchestrate run` finishes it'],
  switch: [
    'the traffic driver switches and resumes clients',
    'tried for 10 s, then exit 6 with sync flowing back; `orchestrate run` goes on trying every 5 s',
  ],
  reverse: ['sync flows back; the certificate is written', 'exit 6: `orchestrate run` finishes it'],
};

/** The steps of a handover. */
export function steps(): string {
  return table(
    ['step', '', 'what', 'if it fails'],
    STEPS.map((step, i) => [String(i + 1), code(step), ...STEP[step]]),
  );
}

const GATE: Readonly<Record<Exclude<GateName, 'rehearsed'>, string>> = {
  lag: 'the standby is at most `--max-lag` behind',
  errors: 'sync runs without errors',
  sweep: 'the last full comparison was clean and is at most `--max-sweep-age` old',
  delta: 'the keys changed since then are known: only these are compared inside the freeze',
  slot: 'the slots of both sides are there, and the servers still keep all of their WAL',
  catalog: 'the tables are defined as they were when they were compared',
  fence: 'the serving side is open and the standby closed, by triggers that are as they were made',
  reverse: 'what the way back needs exists on the standby',
  canary: 'a message written on the standby came back through its slot',
  sequences: 'the sequences of both sides are known: they are set above the highest id inside the freeze',
  transactions: 'no transaction is prepared, and none that writes to these tables stays open',
  vacuum: 'no vacuum against wraparound holds the tables',
  parked: 'no more rows are parked than `--accept-parked` allows; on the way back always',
  budget: '`--freeze-budget` is more than twice the deadlock timeout of the server',
  freeze: 'the predicted freeze fits into the budget',
};

/** The gates, in the order in which they are judged. */
export function gates(): string {
  return table(
    ['gate', 'is passed when'],
    GATES.map((gate) => [code(gate), GATE[gate]]),
  );
}
