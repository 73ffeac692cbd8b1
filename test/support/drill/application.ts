/**
 * The other terminal of the README's drill: a blue and a green server with users, and an application that keeps
 * writing to whichever side takes its writes, until Ctrl-C. Then it looks up everything it was promised.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Side } from '../../../orchestrator/pg/side.ts';
import { openEmbeddedPair, type Pair } from '../../../orchestrator/rehearsal/embedded-pair.ts';
import { loadUsers, withTextSession } from '../../../orchestrator/rehearsal/generator.ts';
import { Ledger } from '../../../orchestrator/rehearsal/ledger.ts';
import { createSourceTable } from '../../../orchestrator/rehearsal/source-table.ts';
import { startWorkload } from '../../../orchestrator/rehearsal/workload.ts';
import { writeEnvironment } from './environment.ts';
import { lookUp } from './promises.ts';

/** A ledger that also tells which side answered last. */
class AttentiveLedger extends Ledger {
  side: Side = 'blue';

  override acknowledged(op: string, side: Side, user?: number): void {
    super.acknowledged(op, side, user);
    if (side !== this.side) {
      say(`writes go to ${side} now`);
      this.side = side;
    }
  }
}

const say = (line: string): void => {
  process.stdout.write(`${new Date().toISOString().slice(11, 23)}  ${line}\n`);
};

/** @returns 0 when every acknowledged write was found in the end, 3 when one was not. */
export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      users: { type: 'string', default: '5000' },
      rate: { type: 'string', default: '50' },
      directory: { type: 'string', default: 'drill' },
    },
  });
  const ending = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => ending.abort());
  say('starting two servers');
  const pair = await openEmbeddedPair({ blue: 15, green: 18 });
  try {
    const owner = pair.urls.blue.owner;
    await withTextSession(owner, 'table', 'public', createSourceTable);
    const { rows } = await loadUsers(owner, { users: Number(values.users), seed: 'drill' });
    await writeEnvironment(values.directory, pair.urlFiles);
    say(`blue ${pair.versions.blue} with ${rows} users, green ${pair.versions.green}, empty`);
    return await write(pair, Number(values.rate), ending.signal);
  } finally {
    await rm(values.directory, { recursive: true, force: true });
    await pair.close();
  }
}

/** Writes until told to end. @returns the exit code. */
async function write(pair: Pair, rate: number, signal: AbortSignal): Promise<number> {
  const ledger = new AttentiveLedger(join(pair.directory, 'ledger.jsonl'));
  const workload = await startWorkload({
    databases: { blue: pair.urls.blue.app, green: pair.urls.green.app },
    ledger,
    rate,
    clients: 4,
    seed: 'drill',
  });
  say(`ready: ${rate} writes a second go to blue; Ctrl-C ends it`);
  while (!signal.aborted) {
    await delay(10_000, undefined, { signal }).catch(() => {});
    say(`${workload.statistics().acknowledged} writes acknowledged, the last one by ${ledger.side}`);
  }
  await workload.stop();
  ledger.close();
  const { acknowledged, lost } = await lookUp(pair, ledger.side, ledger.path);
  say(`${acknowledged} writes acknowledged, ${lost} of them lost; ${ledger.side} serves`);
  return lost === 0 ? 0 : 3;
}
