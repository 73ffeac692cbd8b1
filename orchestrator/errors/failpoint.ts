import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/**
 * Failpoints for tests: `ORCHESTRATE_FAILPOINT=name:crash|error|hang|trace[:nth][,…]`, honoured only with
 * `ORCHESTRATE_TEST=1`. There is one before and one after every durable step, named `<step>.before` and
 * `<step>.after` with the words of the design. `crash` is SIGKILL to ourselves; `hang` ends when the file named by
 * `ORCHESTRATE_FAILPOINT_RELEASE` exists; `*:trace` prints every one that is passed.
 *
 * `ORCHESTRATE_FAILPOINT=@FILE` reads the same words from a file, anew at every failpoint: a test arms a process that
 * runs already. Hits are counted from the file's last change, and a change ends a `hang`.
 */
type Action = 'crash' | 'error' | 'hang' | 'trace';

interface Armed {
  readonly text: string;
  readonly points: ReadonlyMap<string, { action: Action; nth: number }>;
  readonly hits: Map<string, number>;
}

const source = process.env['ORCHESTRATE_TEST'] === '1' ? process.env['ORCHESTRATE_FAILPOINT'] : undefined;
const file = source?.startsWith('@') ? source.slice(1) : undefined;
let armed = parse(file === undefined ? (source ?? '') : '');

function isAction(text: string | undefined): text is Action {
  return text === 'crash' || text === 'error' || text === 'hang' || text === 'trace';
}

function parse(text: string): Armed {
  const points = new Map<string, { action: Action; nth: number }>();
  for (const part of text.trim().split(',')) {
    const [name, action, nth] = part.split(':');
    if (name && isAction(action)) points.set(name, { action, nth: nth === undefined ? 1 : Number(nth) });
  }
  return { text, points, hits: new Map() };
}

function current(): Armed {
  if (file === undefined) return armed;
  const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
  if (text !== armed.text) armed = parse(text);
  return armed;
}

/** Passes a failpoint: does nothing unless a test armed it. */
export async function failpoint(name: string): Promise<void> {
  if (source === undefined) return;
  const now = current();
  const point = now.points.get(name) ?? now.points.get('*');
  if (point === undefined) return;
  const hit = (now.hits.get(name) ?? 0) + 1;
  now.hits.set(name, hit);
  if (point.action !== 'trace' && hit !== point.nth) return;
  process.stderr.write(`failpoint ${name} ${hit}\n`);
  switch (point.action) {
    case 'trace':
      return;
    case 'crash':
      process.kill(process.pid, 'SIGKILL');
      await delay(60_000);
      return;
    case 'error':
      throw new Error(`failpoint ${name}`);
    case 'hang': {
      const release = process.env['ORCHESTRATE_FAILPOINT_RELEASE'];
      while (current() === now && (release === undefined || !existsSync(release))) await delay(20);
    }
  }
}
