import { setTimeout as delay } from 'node:timers/promises';
import type { Settings } from '../config/settings.ts';
import { connect } from '../pg/connect.ts';
import { endpointOf } from '../pg/endpoints.ts';
import type { JournalEntry } from '../state/documents.ts';
import { readJournal } from '../state/journal.ts';
import { type ChainDocument, verifyChain } from '../state/journal-chain.ts';
import { hasControl } from '../state/store.ts';

export interface EventOptions {
  /** Only entries with a higher id. */
  readonly after?: bigint;
  /** Go on with what comes, until `signal`. */
  readonly follow: boolean;
  readonly signal: AbortSignal;
}

/**
 * Whether the journal is as it was written; an empty one where no migration has been started.
 * @throws OrchestrateError CANNOT_CONNECT, AUTHENTICATION.
 */
export async function checkJournal(settings: Settings): Promise<ChainDocument> {
  const client = await connect(endpointOf(settings, 'green'), { purpose: 'events' });
  try {
    if (!(await hasControl(client))) return { intact: true, entries: 0, head: null, problems: [], more: 0 };
    return await verifyChain(client);
  } finally {
    await client.end().catch(() => {});
  }
}

/** The journal, oldest entry first; nothing where no migration has been started. */
export async function* readEvents(settings: Settings, options: EventOptions): AsyncIterable<JournalEntry> {
  const client = await connect(endpointOf(settings, 'green'), { purpose: 'events' });
  try {
    let after = (options.after ?? 0n).toString();
    while (!options.signal.aborted) {
      const entries = (await hasControl(client)) ? await readJournal(client, settings.migration, after) : [];
      for (const entry of entries) {
        after = entry.id;
        yield entry;
      }
      if (entries.length === 0) {
        if (!options.follow) return;
        await delay(250, undefined, { signal: options.signal }).catch(() => {});
      }
    }
  } finally {
    await client.end().catch(() => {});
  }
}
