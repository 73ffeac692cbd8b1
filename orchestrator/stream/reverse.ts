import type { Context } from '../state/context.ts';
import { Notes } from './beyond.ts';
import type { Change, Relation } from './change.ts';
import { deleteRows, type Found, readInverse, writeRows } from './inverse-rows.ts';
import { checkOrgRelation } from './org-relation.ts';
import { recordLinks } from './reverse-links.ts';
import { marksOf, ORG, SETTINGS, USER } from './reverse-marks.ts';
import { applyTruncate } from './reverse-truncate.ts';
import type { Batch, Sink, SinkTransaction } from './sink.ts';

/**
 * The reverse stream, green → blue (DESIGN 8). A change of the org model only says which source rows it may concern;
 * the rows themselves are recomputed whole on green by the inverse mapping, under the visibility rule, and upserted
 * into blue in the applier's transaction. Read later than the change was made, a row may be newer than the batch; then
 * the change that made it so comes in a later batch, and at the end of the stream both agree.
 */
class ReverseSink implements Sink {
  readonly #ctx: Context;
  readonly #slices = new Slices();
  readonly #notes: Notes;

  constructor(ctx: Context) {
    this.#ctx = ctx;
    this.#notes = new Notes(ctx);
  }

  relation(relation: Relation): void {
    checkOrgRelation(relation, this.#ctx.schemas.org);
  }

  begin(): void {}

  async apply(tx: SinkTransaction, batch: Batch): Promise<void> {
    for (const part of splitAtTruncate(batch.changes)) {
      if (part.kind === 'truncate') {
        const tables = new Set(part.relations.map((r) => r.name));
        await applyTruncate(tx, this.#ctx, tables, batch.xids);
      } else await this.#recompute(tx, part.changes, batch.xids);
    }
  }

  async finish(): Promise<void> {
    await this.#notes.flush();
  }

  async #recompute(tx: SinkTransaction, changes: readonly Change[], xids: readonly number[]): Promise<void> {
    const marks = marksOf(changes);
    if (marks.ids.size === 0) return;
    const source = await tx.source();
    this.#notes.add(await recordLinks(source, this.#ctx, marks.facts, xids));
    // In the order of ids: a copied user's three ids are one number, and so one read.
    const ids = [...marks.ids].sort(([a], [b]) => a - b);
    for (let at = 0; at < ids.length; ) {
      const slice = ids.slice(at, at + this.#slices.size);
      at += slice.length;
      const of = (bit: number) => slice.filter(([, bits]) => (bits & bit) !== 0).map(([id]) => id);
      const found = await readInverse(source, this.#ctx, xids, {
        users: of(USER),
        settings: of(SETTINGS),
        orgs: of(ORG),
      });
      for (const { k } of found) tx.touched.add(k);
      this.#slices.took(found);
      await writeRows(tx.client, this.#ctx.relations, found);
      await deleteRows(tx.client, this.#ctx.relations, found, marks.deleted);
    }
  }
}

/** @returns the sink of the reverse stream: changes of the org model on green become rows of `user_settings`. */
export function reverseSink(ctx: Context): Sink {
  return new ReverseSink(ctx);
}

/** Consecutive row changes, and each TRUNCATE by itself, in order. */
function splitAtTruncate(
  changes: readonly Change[],
): ({ kind: 'rows'; changes: Change[] } | Extract<Change, { kind: 'truncate' }>)[] {
  const parts: ({ kind: 'rows'; changes: Change[] } | Extract<Change, { kind: 'truncate' }>)[] = [];
  let rows: Change[] | undefined;
  for (const change of changes) {
    if (change.kind === 'truncate') {
      parts.push(change);
      rows = undefined;
      continue;
    }
    if (rows === undefined) {
      rows = [];
      parts.push({ kind: 'rows', changes: rows });
    }
    rows.push(change);
  }
  return parts;
}

const MAX_SLICE = 2_000;
const SLICE_CHARACTERS = 4_000_000;

/** How many keys are read at a time: rows hold up to 200 kB each, and what is in memory has to stay bounded. */
class Slices {
  size = 200;

  took(found: readonly Found[]): void {
    let characters = 0;
    for (const { row } of found) for (const value of row ?? []) characters += value?.length ?? 0;
    const average = Math.max(1, characters / Math.max(1, found.length));
    this.size = Math.max(10, Math.min(MAX_SLICE, this.size * 2, Math.floor(SLICE_CHARACTERS / average)));
  }
}
