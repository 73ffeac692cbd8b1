import { SOURCE_COLUMNS } from '../../src/mapping/columns.ts';
import type { Change, Value } from './change.ts';
import { inDeclaredOrder, positionIn } from './source-relation.ts';
import { WireRow } from './wire-row.ts';

/** What a row of `user_settings` is in the end: its values in declared order or as they came, or null: it is gone. */
export type Net = Value[] | WireRow | null;

const ID = SOURCE_COLUMNS.findIndex((c) => c.home === 'key');

/** A row got another id, and values that were not sent are to be taken from the row of the old id. */
export interface Moved {
  readonly from: number;
  readonly to: number;
  readonly row: Value[];
}

/**
 * The net effect of consecutive changes: one entry an id, the last change wins. A value that was not sent because it
 * did not change keeps what an earlier change of the same batch said; otherwise it stays `undefined`.
 */
export class Nets {
  readonly rows = new Map<number, Net>();

  /** @returns what cannot be told without the old row, which then is to be passed to `move`. */
  add(change: Exclude<Change, { kind: 'truncate' }>): Moved | undefined {
    const { relation } = change;
    if (change.kind === 'delete') {
      this.rows.set(idOf(inDeclaredOrder(relation, change.old)), null);
      return undefined;
    }
    const old = change.kind === 'update' ? change.old : undefined;
    const from = old === undefined ? undefined : idOf(inDeclaredOrder(relation, old));
    if (change.wire !== undefined) {
      const id = change.wire.numberOf(positionIn(relation, ID));
      if (from !== undefined && from !== id) this.rows.set(from, null);
      this.rows.set(id, change.wire);
      return undefined;
    }
    const row = inDeclaredOrder(relation, change.row);
    const id = idOf(row);
    if (from !== undefined && from !== id) {
      fill(row, this.values(from));
      if (row.includes(undefined)) return { from, to: id, row };
      this.move({ from, to: id, row });
      return undefined;
    }
    if (change.kind === 'update') fill(row, this.values(id));
    this.rows.set(id, row);
    return undefined;
  }

  /** The values of one row in declared order; null when it is gone, undefined when nothing is known of it. */
  values(id: number): Value[] | null | undefined {
    const net = this.rows.get(id);
    if (!(net instanceof WireRow)) return net;
    const row = inDeclaredOrder(net.relation, net.values);
    this.rows.set(id, row);
    return row;
  }

  /** Whether values of that row were not sent and are not known. */
  partial(id: number): boolean {
    const net = this.rows.get(id);
    return net !== undefined && net !== null && !(net instanceof WireRow) && net.includes(undefined);
  }

  /** The row of `from` becomes the row of `to`. */
  move({ from, to, row }: Moved): void {
    this.rows.set(from, null);
    this.rows.set(to, row);
  }

  clear(): void {
    this.rows.clear();
  }
}

/** Gives values that were not sent from another image of the row, as far as it knows them. */
export function fill(row: Value[], from: readonly Value[] | null | undefined): void {
  if (!from) return;
  for (let i = 0; i < row.length; i++) if (row[i] === undefined) row[i] = from[i];
}

function idOf(row: readonly Value[]): number {
  return Number(row[ID]);
}
