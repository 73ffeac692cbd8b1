/** Replays what a runner really journaled against the edges of the handover's model. */
import { STEPS } from '../../orchestrator/state/documents.ts';
import { readEdges } from './handover-model.ts';
import { rows } from './sql.ts';

interface Entry {
  readonly event: string;
  readonly word: string | null;
  readonly ok: boolean;
}

/** What of the journal the model speaks of, in the order in which it was written. */
const JOURNAL = `
  SELECT event,
         CASE event WHEN 'handover-step' THEN detail->>'step'
                    WHEN 'handover' THEN detail->>'outcome' END AS word,
         coalesce((detail->>'ok')::boolean, true) AS ok
  FROM orchestrator.journal
  WHERE event IN ('runner', 'handover-step', 'handover', 'opened', 'reopened')
  ORDER BY id`;

const OUTCOMES = ['no-go', 'rehearsed', 'aborted', 'done', 'unfinished'];
const TOLD: readonly string[] = [...STEPS, ...OUTCOMES, 'opened', 'reopened'];
/** Steps whose failure leads to a look at the truth; the others leave a handover undone, or unfinished. */
const UNDONE: readonly string[] = STEPS.filter((step) => !['gates', 'switch', 'reverse'].includes(step));

/**
 * Where each entry leads in the model. A new runner begins at `idle`, whatever the last one was at. Phases are written by
 * another session, so their place among the steps may differ: they are passed in silence. A step that failed is followed
 * by `truth`. Entries that a crash swallowed make gaps: this is for runners that nobody kills.
 */
function nodesOf(entries: readonly Entry[]): string[] {
  return entries.flatMap(({ event, word, ok }, n) => {
    if (event === 'runner') return ['idle'];
    const node = word ?? event;
    if (!TOLD.includes(node)) return [];
    // Gates that were closed lead to a no-go; those that could not be judged lead nowhere.
    if (node === 'gates' && !ok && entries[n + 1]?.word !== 'no-go') return [];
    return !ok && UNDONE.includes(node) ? [node, 'truth'] : [node];
  });
}

export interface JournalPath {
  /** Moves that the model does not have; empty is good. */
  readonly strange: readonly string[];
  /** How many moves were looked at. */
  readonly moves: number;
  readonly seen: ReadonlySet<string>;
}

/** @param url of green, where the journal is. */
export async function journalPath(url: string): Promise<JournalPath> {
  const { modelled } = await readEdges();
  const leads = (from: string, to: string): boolean => {
    const seen = new Set<string>();
    const open = [from];
    for (let at = open.pop(); at !== undefined; at = open.pop())
      for (const [a, b] of modelled) {
        if (a !== at) continue;
        if (b === to) return true;
        if (!seen.has(b) && !TOLD.includes(b)) open.push(b);
        seen.add(b);
      }
    return false;
  };
  const nodes = nodesOf(await rows<Entry & Record<string, unknown>>(url, JOURNAL));
  const strange: string[] = [];
  nodes.slice(1).forEach((to, i) => {
    const from = nodes[i] as string;
    if (to !== 'idle' && !leads(from, to) && !(from === 'idle' && to === 'gates'))
      strange.push(`${from} -> ${to}`);
  });
  return { strange, moves: nodes.length - 1, seen: new Set(nodes) };
}
