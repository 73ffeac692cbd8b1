import type pg from 'pg';
import { KEY_COLUMN, SOURCE_COLUMNS, SOURCE_TABLE } from '../../src/mapping/columns.ts';
import { failure } from '../errors/failure.ts';
import type { Context } from '../state/context.ts';
import { appendJournal } from '../state/journal.ts';
import { type Assignment, assign, assignWithoutKeys } from './assignment.ts';
import type { Change, Relation, Value } from './change.ts';
import { DeleteIndexes } from './delete-indexes.ts';
import { keepForeignRows, makeRoom, rehome } from './foreign-rows.ts';
import { map, park, rekey, unmap, unpark } from './forward-move.ts';
import { readImages, readKeys, readPlaces, reread } from './forward-state.ts';
import { type Exception, FactRows, type Facts, updateFacts } from './forward-update.ts';
import { fill, Nets } from './nets.ts';
import type { Batch, Sink, SinkTransaction } from './sink.ts';
import { checkSourceRelation } from './source-relation.ts';
import { truncate } from './truncate.ts';

export interface ForwardOptions {
  /**
   * `catch-up`: after the copy and before the recompute pass; every row with a key is mapped, duplicates included, and
   * a value that is missing is re-read from blue. `syncing`: exact, with the sticky choice of who is mapped.
   */
  readonly mode: 'catch-up' | 'syncing';
  /** What a TRUNCATE of `user_settings` does: delete the rows we own, or stop. */
  readonly truncate?: 'apply' | 'refuse';
}

const KEY = SOURCE_COLUMNS.findIndex((c) => c.name === KEY_COLUMN);

/**
 * The sink of the forward stream: changes of `user_settings` become rows of the org model on green (DESIGN 5.4).
 *
 * A batch is brought to its net effect by id. Rows that are mapped and stay so are updated in one statement, which
 * also says what it could not settle; only those rows (new, gone, moved between mapped and parked, other keys) take
 * the longer way: read where they are, decide, and write set by set.
 */
export class ForwardSink implements Sink {
  readonly batchesPerCommit = 10;
  readonly #ctx: Context;
  readonly #mode: 'catch-up' | 'syncing';
  readonly #truncate: 'apply' | 'refuse';
  #nets = new Nets();
  readonly #facts = new FactRows();
  readonly #deleteIndexes: DeleteIndexes;

  constructor(ctx: Context, options: ForwardOptions) {
    this.#ctx = ctx;
    this.#mode = options.mode;
    this.#deleteIndexes = new DeleteIndexes(ctx.relations);
    this.#truncate = options.truncate ?? 'apply';
  }

  relation(relation: Relation): void {
    checkSourceRelation(relation, this.#ctx.schemas.source);
  }

  async upkeep(client: pg.Client): Promise<void> {
    await this.#deleteIndexes.make(client);
  }

  begin(): void {
    this.#nets.clear();
  }

  prepare(changes: readonly Change[]): Prepared | undefined {
    const nets = new Nets();
    for (const change of changes)
      if (change.kind === 'truncate' || nets.add(change) !== undefined) return undefined;
    return { nets, ...this.#split(nets) };
  }

  async apply(tx: SinkTransaction, batch: Batch): Promise<void> {
    // The net effect follows from the changes alone, unless something has to be looked up in between.
    const prepared = (batch.prepared as Prepared | undefined) ?? this.prepare(batch.changes);
    if (prepared !== undefined) {
      this.#nets = prepared.nets;
      await this.#write(tx, batch.xids, prepared);
      return;
    }
    this.#nets = new Nets();
    for (const change of batch.changes) {
      if (change.kind === 'truncate') {
        if (!change.relations.some((r) => r.name === SOURCE_TABLE)) continue;
        if (this.#truncate === 'refuse')
          throw failure('TRUNCATE_REFUSED', { expected: 'no TRUNCATE of user_settings', found: 'one' });
        this.#nets.clear();
        await truncate(tx, this.#ctx, this.#served, (users) => this.#deleteIndexes.expect(tx.client, users));
        continue;
      }
      const moved = this.#nets.add(change);
      if (moved === undefined) continue;
      // The values that were not sent are only in the old row: write what came before it, then look there.
      await this.#write(tx, batch.xids);
      const images = await readImages(tx.client, this.#ctx.relations, [moved.from]);
      fill(moved.row, images.get(moved.from));
      this.#nets.move(moved);
    }
    await this.#write(tx, batch.xids);
  }

  async finish(): Promise<void> {}

  /** Only once green has served it can hold rows that are not ours. */
  get #served(): boolean {
    return this.#ctx.claim().generation > 0n;
  }

  async #write(
    tx: SinkTransaction,
    xids: readonly number[],
    split: Split = this.#split(this.#nets),
  ): Promise<void> {
    const { relations } = this.#ctx;
    const { rows } = this.#nets;
    if (rows.size === 0) return;
    try {
      for (const id of rows.keys()) tx.touched.add(id);
      const moving = [...split.gone];
      const exceptions = await updateFacts(
        tx.client,
        relations,
        split.facts,
        this.#served ? 'served' : 'copied',
      );
      await this.#rehome(tx, exceptions);
      for (const e of exceptions) if (!e.mapped || e.rekeyed) moving.push(e.id);
      if (moving.length > 0) await this.#move(tx, moving, xids);
    } catch (error) {
      // For the operator: which row it was, when it can only be one.
      const [only] = rows.size === 1 ? rows.keys() : [];
      if (only !== undefined && error instanceof Error) Object.assign(error, { sourceId: only });
      throw error;
    }
    this.#nets.clear();
  }

  #split(nets: Nets): Split {
    const gone: number[] = [];
    for (const [id, row] of nets.rows) {
      if (row === null) gone.push(id);
      else this.#facts.add(row);
    }
    return { gone, facts: this.#facts.take() };
  }

  /** Facts of users that have no settings row of their own: first the row, then the facts. */
  async #rehome(tx: SinkTransaction, exceptions: readonly Exception[]): Promise<void> {
    const homeless = exceptions.filter((e) => e.homeless).map((e) => e.id);
    if (homeless.length === 0) return;
    await rehome(tx.client, this.#ctx.relations, homeless);
    await this.#complete(tx.client, homeless, 'syncing');
    for (const id of homeless) this.#facts.add(this.#row(id));
    await updateFacts(tx.client, this.#ctx.relations, this.#facts.take(), 'rehomed');
  }

  /** Rows that change their place: between mapped, parked and gone, or their key. */
  async #move(tx: SinkTransaction, candidates: readonly number[], xids: readonly number[]): Promise<void> {
    const { client } = tx;
    const { relations } = this.#ctx;
    const ids = await this.#complete(client, candidates, this.#mode, { tx, xids });
    const next = new Map(ids.map((id) => [id, this.#key(id)]));
    const places = await readPlaces(client, relations, ids);
    let assignment: Assignment;
    if (this.#mode === 'catch-up') assignment = assignWithoutKeys(next, places);
    else {
      const keys = new Set<string>();
      for (const key of next.values()) if (key) keys.add(key);
      for (const place of places.values()) if (place.at === 'mapped') keys.add(place.key);
      assignment = assign(next, places, await readKeys(client, relations, keys, ids));
    }
    for (const heir of assignment.heirs) tx.touched.add(heir);
    const heirs =
      assignment.heirs.length > 0
        ? await readImages(client, relations, assignment.heirs)
        : new Map<number, Value[]>();
    const rowsOf = (some: readonly number[]): Value[][] => some.map((id) => heirs.get(id) ?? this.#row(id));

    if (assignment.unmap.length > 0) await this.#unmap(client, assignment.unmap);
    await unpark(client, relations, assignment.unpark);
    await rekey(client, relations, rowsOf(assignment.rekey));
    if (this.#served) await makeRoom(client, relations, assignment.map);
    await map(client, relations, rowsOf(assignment.map));
    await park(client, relations, rowsOf(assignment.park));
  }

  async #unmap(client: pg.Client, ids: readonly number[]): Promise<void> {
    // While catching up there are no foreign keys yet that would ask.
    if (this.#mode === 'syncing') await this.#deleteIndexes.expect(client, ids.length);
    if (this.#served) {
      const kept = await keepForeignRows(client, this.#ctx.relations, ids);
      if (kept.orgUser + kept.settings > 0)
        await appendJournal(client, this.#ctx.claim(), 'kept', { keys: ids.slice(0, 100), ...kept });
    }
    await unmap(client, this.#ctx.relations, ids);
  }

  /**
   * Fills in what was not sent: from green, where every source row is, mapped or parked; while catching up from blue,
   * where a row can be that the copy has not seen.
   * @returns the ids without rows that blue has deleted meanwhile; their deletion is still to come in the stream.
   * @throws OrchestrateError ROW_MISSING in syncing: a value is never invented.
   */
  async #complete(
    client: pg.Client,
    ids: readonly number[],
    mode: 'catch-up' | 'syncing',
    blue?: { readonly tx: SinkTransaction; readonly xids: readonly number[] },
  ): Promise<number[]> {
    const { relations } = this.#ctx;
    const holes = ids.filter((id) => this.#nets.partial(id));
    if (holes.length === 0) return [...ids];
    const images = await readImages(client, relations, holes);
    const missing: number[] = [];
    for (const id of holes) {
      const row = this.#row(id);
      fill(row, images.get(id));
      if (row.includes(undefined)) missing.push(id);
    }
    if (missing.length === 0) return [...ids];
    if (mode === 'syncing' || blue === undefined)
      throw failure('ROW_MISSING', {
        expected: 'every row of blue on green, mapped or parked',
        found: `source id ${missing.slice(0, 10).join(', ')} on neither`,
      });
    const columns = SOURCE_COLUMNS.map((_, i) => i).filter((i) =>
      missing.some((id) => this.#row(id)[i] === undefined),
    );
    const found = await reread(await blue.tx.source(), relations, {
      xids: blue.xids,
      ids: missing,
      columns,
      signal: this.#ctx.signal,
    });
    const gone = new Set<number>();
    for (const id of missing) {
      const values = found.get(id);
      const row = this.#row(id);
      if (values === undefined) gone.add(id);
      else for (const [i, value] of values) if (row[i] === undefined) row[i] = value;
    }
    return ids.filter((id) => !gone.has(id));
  }

  #row(id: number): Value[] {
    const row = this.#nets.values(id);
    if (!row) throw failure('INTERNAL', { message: `the batch holds no row of source id ${id}` });
    return row;
  }

  #key(id: number): string | null | undefined {
    return this.#nets.values(id)?.[KEY];
  }
}

/** The rows of a batch as the statements take them. */
interface Split {
  readonly gone: readonly number[];
  readonly facts: Facts;
}

/** What a batch comes to, without a look at the destination. */
interface Prepared extends Split {
  readonly nets: Nets;
}

/** @returns the sink of the forward stream. */
export function forwardSink(ctx: Context, options: ForwardOptions): Sink {
  return new ForwardSink(ctx, options);
}
