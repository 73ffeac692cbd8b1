import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/**
 * Failpoints for tests: `ORCHESTRATE_FAILPOINT=name:crash|error|hang[:nth][,…]`, honoured only with
 * `ORCHESTRATE_TEST=1`. There is one before and one after every durable step, named `<step>.before` and
 * `<step>.after` with the words of the design. `crash` is SIGKILL to ourselves; `hang` ends when the file named by
 * `ORCHESTRATE_FAILPOINT_RELEASE` exists.
 */
type Action = 'crash' | 'error' | 'hang';

const armed: ReadonlyMap<string, { action: Action; nth: number }> = parse();
const hits = new Map<string, number>();

function parse(): Map<string, { action: Action; nth: number }> {
  const found = new Map<string, { action: Action; nth: number }>();
  const text = process.env['ORCHESTRATE_TEST'] === '1' ? process.env['ORCHESTRATE_FAILPOINT'] : undefined;
  for (const part of text?.split(',') ?? []) {
    const [name, action, nth] = part.split(':');
    if (name && (action === 'crash' || action === 'error' || action === 'hang'))
      found.set(name, { action, nth: nth === undefined ? 1 : Number(nth) });
  }
  return found;
}

/** Passes a failpoint: does nothing unless a test armed it. */
export async function failpoint(name: string): Promise<void> {
  const point = armed.get(name);
  if (point === undefined) return;
  const hit = (hits.get(name) ?? 0) + 1;
  hits.set(name, hit);
  if (hit !== point.nth) return;
  process.stderr.write(`failpoint ${name} ${hit}\n`);
  switch (point.action) {
    case 'crash':
      process.kill(process.pid, 'SIGKILL');
      await delay(60_000);
      return;
    case 'error':
      throw new Error(`failpoint ${name}`);
    case 'hang': {
      const release = process.env['ORCHESTRATE_FAILPOINT_RELEASE'];
      while (release === undefined || !existsSync(release)) await delay(20);
    }
  }
}
