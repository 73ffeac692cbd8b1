import { copyFile, readFile, rename } from 'node:fs/promises';
import type { Side } from '../../pg/side.ts';

/** Where a line of pgbouncer's `[databases]` leads. */
export interface Target {
  readonly host: string;
  readonly port: number;
  readonly database: string;
}

/**
 * The file that pgbouncer's configuration takes in with `%include`, and the operator's two versions of it beside it:
 * `FILE.blue` and `FILE.green`. So every word of the line is the operator's, and no password passes through us.
 */
export const versionOf = (include: string, side: Side): string => `${include}.${side}`;

/** @returns where the file's line for `database` leads; null when it has none. */
export function targetIn(text: string, database: string): Target | null {
  for (const raw of text.split('\n')) {
    const line = /^\s*("(?:[^"]|"")*"|[^\s=;#]+)\s*=\s*(.*)$/.exec(raw);
    const name = line?.[1]?.replace(/^"|"$/g, '').replaceAll('""', '"');
    if (name !== database) continue;
    const words = new Map<string, string>();
    for (const [, key, quoted, plain] of (line?.[2] ?? '').matchAll(
      /(\w+)\s*=\s*(?:'((?:[^']|'')*)'|(\S+))/g,
    ))
      words.set(key as string, quoted?.replaceAll("''", "'") ?? plain ?? '');
    return {
      host: words.get('host') ?? '',
      port: Number(words.get('port') ?? 5432),
      database: words.get('dbname') ?? database,
    };
  }
  return null;
}

export async function readTarget(include: string, side: Side, database: string): Promise<Target | null> {
  return targetIn(await readFile(versionOf(include, side), 'utf8'), database);
}

/** Puts the side's version in the file's place, in one move: a reload in the middle reads one or the other. */
export async function installTarget(include: string, side: Side): Promise<void> {
  const next = `${include}.next`;
  await copyFile(versionOf(include, side), next);
  await rename(next, include);
}
