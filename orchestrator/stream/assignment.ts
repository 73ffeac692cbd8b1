/** Where green holds a source row now. */
export type Place =
  | { readonly at: 'mapped'; readonly key: string }
  | { readonly at: 'parked' }
  | { readonly at: 'none' };

/** Who has a key outside the rows that change. */
export interface KeyState {
  /** The mapped row that has it, among all rows. */
  readonly holder: number | undefined;
  /** The lowest parked row that has it, among the rows that do not change. */
  readonly heir: number | undefined;
}

/** What changes, set by set; every id is in at most one of `map`, `rekey` and `park`. */
export interface Assignment {
  /** Mapped rows whose forward image goes. */
  readonly unmap: number[];
  /** Parked rows that are parked no longer. */
  readonly unpark: number[];
  /** Rows that get a forward image; heirs among them. */
  readonly map: number[];
  /** Mapped rows that stay mapped under another key. */
  readonly rekey: number[];
  /** Rows that are parked from now on, or stay so with other values. */
  readonly park: number[];
  /** Parked rows that inherit a vacant key, though they did not change themselves. */
  readonly heirs: number[];
}

/**
 * Decides who is mapped and who is parked (DESIGN 5, "Who is mapped"): a mapped row keeps its key while it has it;
 * only a vacant key goes to the lowest row that has it.
 * @param next the keys of the rows that change; null is NULL, undefined a deleted row.
 * @param places where green holds these rows.
 * @param keys every non-empty key that one of them has or had.
 */
export function assign(
  next: ReadonlyMap<number, string | null | undefined>,
  places: ReadonlyMap<number, Place>,
  keys: ReadonlyMap<string, KeyState>,
): Assignment {
  const result: Assignment = { unmap: [], unpark: [], map: [], rekey: [], park: [], heirs: [] };
  const claimants = new Map<string, number>();
  for (const [id, key] of next) {
    if (key === undefined || key === null || key === '') continue;
    const lowest = claimants.get(key);
    if (lowest === undefined || id < lowest) claimants.set(key, id);
  }
  const winners = new Map<string, number>();
  for (const [key, { holder, heir }] of keys) {
    const keeps = holder !== undefined && (!next.has(holder) || next.get(holder) === key);
    if (keeps) {
      winners.set(key, holder);
      continue;
    }
    const claimant = claimants.get(key);
    if (heir !== undefined && (claimant === undefined || heir < claimant)) {
      winners.set(key, heir);
      result.heirs.push(heir);
      result.map.push(heir);
      result.unpark.push(heir);
    } else if (claimant !== undefined) winners.set(key, claimant);
  }
  for (const [id, key] of next) {
    const place = places.get(id) ?? { at: 'none' };
    const mapped = key !== undefined && key !== null && key !== '' && winners.get(key) === id;
    if (place.at === 'mapped' && !mapped) result.unmap.push(id);
    if (place.at === 'parked' && (mapped || key === undefined)) result.unpark.push(id);
    if (mapped && place.at !== 'mapped') result.map.push(id);
    if (mapped && place.at === 'mapped' && place.key !== key) result.rekey.push(id);
    if (!mapped && key !== undefined) result.park.push(id);
  }
  return result;
}

/**
 * The same while the stream catches up with the copy: every row with a key is mapped, duplicates included; the
 * recompute pass decides afterwards.
 */
export function assignWithoutKeys(
  next: ReadonlyMap<number, string | null | undefined>,
  places: ReadonlyMap<number, Place>,
): Assignment {
  const result: Assignment = { unmap: [], unpark: [], map: [], rekey: [], park: [], heirs: [] };
  for (const [id, key] of next) {
    const place = places.get(id) ?? { at: 'none' };
    const mapped = key !== undefined && key !== null && key !== '';
    if (place.at === 'mapped' && !mapped) result.unmap.push(id);
    if (place.at === 'parked' && (mapped || key === undefined)) result.unpark.push(id);
    if (mapped && place.at !== 'mapped') result.map.push(id);
    if (mapped && place.at === 'mapped' && place.key !== key) result.rekey.push(id);
    if (!mapped && key !== undefined) result.park.push(id);
  }
  return result;
}
