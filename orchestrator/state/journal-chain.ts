import type { ClientBase } from 'pg';
import { FIRST_LINK, LINK_DIGEST } from '../../migrations/journal-chain.ts';

/** What the chain says of the journal; `head` is worth writing down elsewhere. */
export interface ChainDocument {
  readonly intact: boolean;
  readonly entries: number;
  /** The newest link: a chain that was made anew, or cut at its end, has another one. null: there is none. */
  readonly head: { readonly position: number; readonly hash: string } | null;
  readonly problems: readonly ChainProblem[];
  /** Problems beyond the ones that are listed. */
  readonly more: number;
}

export interface ChainProblem {
  /** The id of the entry, where one can be named. */
  readonly entry: string | null;
  readonly kind: 'changed' | 'removed' | 'unlinked' | 'gap' | 'trigger';
  readonly detail: string;
}

const LISTED = 100;

/** Of each link, whether its entry is there and has the digest that the link before it demands. */
const BROKEN = `
  WITH link AS (
    SELECT l.position, l.entry, l.hash,
           lag(l.position, 1, 0::bigint) OVER w AS before,
           lag(l.hash, 1, ${FIRST_LINK}) OVER w AS previous
    FROM orchestrator.journal_link AS l
    WINDOW w AS (ORDER BY l.position)),
  judged AS (
    SELECT k.position, k.entry::text AS entry,
           CASE
             WHEN k.position <> k.before + 1 THEN 'gap'
             WHEN j.id IS NULL THEN 'removed'
             WHEN k.hash <> (SELECT ${LINK_DIGEST} FROM (SELECT k.previous) AS p) THEN 'changed'
           END AS kind
    FROM link AS k LEFT JOIN orchestrator.journal AS j ON j.id = k.entry),
  unlinked AS (
    SELECT NULL::bigint AS position, j.id::text AS entry, 'unlinked' AS kind
    FROM orchestrator.journal AS j
    WHERE NOT EXISTS (SELECT FROM orchestrator.journal_link AS l WHERE l.entry = j.id)),
  problem AS (
    SELECT * FROM judged WHERE kind IS NOT NULL UNION ALL SELECT * FROM unlinked)
  SELECT position::text, entry, kind, count(*) OVER ()::integer AS total
  FROM problem ORDER BY problem.position NULLS LAST, problem.entry::bigint
  LIMIT ${LISTED}`;

const TRIGGERS = `
  SELECT w.name || ' on ' || w.relation AS missing
  FROM (VALUES ('orchestrator.journal', 'link_entry'), ('orchestrator.journal', 'refuse_change'),
               ('orchestrator.journal_link', 'refuse_change')) AS w(relation, name)
  WHERE NOT EXISTS (
    SELECT FROM pg_trigger AS t
    WHERE t.tgrelid = to_regclass(w.relation) AND t.tgname = w.name AND t.tgenabled = 'A')`;

const HEAD = `
  SELECT l.position::integer AS position, encode(l.hash, 'hex') AS hash
  FROM orchestrator.journal_link AS l ORDER BY l.position DESC LIMIT 1`;

const DETAIL: Readonly<Record<Exclude<ChainProblem['kind'], 'trigger'>, string>> = {
  changed: 'the entry, or the link before it, is not what was written',
  removed: 'the entry is gone',
  unlinked: 'the entry was written with the triggers switched off, or its link is gone',
  gap: 'links before it are gone',
};

/**
 * Compares every entry of the journal with its link. Reads only, and trusts no function of the server's: the digest
 * is this program's own text. It cannot see an end that was cut off with its links, nor a chain that somebody made
 * anew as a whole: for those the head has to be compared with one that was noted before.
 */
export async function verifyChain(green: ClientBase): Promise<ChainDocument> {
  await green.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  try {
    const { rows: counted } = await green.query<{ entries: number }>(
      'SELECT count(*)::integer AS entries FROM orchestrator.journal',
    );
    const { rows: head } = await green.query<{ position: number; hash: string }>(HEAD);
    const { rows: broken } = await green.query<{
      entry: string;
      kind: keyof typeof DETAIL;
      total: number;
    }>(BROKEN);
    const { rows: triggers } = await green.query<{ missing: string }>(TRIGGERS);
    const problems: ChainProblem[] = [
      ...broken.map(({ entry, kind }) => ({ entry, kind, detail: DETAIL[kind] })),
      ...triggers.map(({ missing }) => ({
        entry: null,
        kind: 'trigger' as const,
        detail: `the trigger ${missing} is missing or switched off`,
      })),
    ];
    return {
      intact: problems.length === 0,
      entries: counted[0]?.entries ?? 0,
      head: head[0] ?? null,
      problems,
      more: Math.max(0, (broken[0]?.total ?? 0) - broken.length),
    };
  } finally {
    await green.query('ROLLBACK');
  }
}
